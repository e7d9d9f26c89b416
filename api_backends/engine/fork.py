"""Keep back ends usable in a child process after `os.fork()` (gunicorn, celery prefork)."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["track"]


class _Rebuilt(Protocol):
    def reset_after_fork(self) -> None: ...


_live: weakref.WeakSet[_Rebuilt] = weakref.WeakSet()


def track(owner: _Rebuilt) -> None:
    """Have `owner.reset_after_fork()` called in every child process, while `owner` lives."""
    _live.add(owner)


def _after_fork_in_child() -> None:
    for owner in list(_live):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
