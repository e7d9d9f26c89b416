"""Time and chance, in one object, so that tests can hold both in their hands."""

from __future__ import annotations

import queue
import random
import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "BlockingLock", "Clock"]


class BlockingLock(Protocol):
    """What `threading.Lock` and `threading.Semaphore` have in common."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; False if `timeout` seconds passed first."""
        ...


class Clock:
    """The system's clock and random numbers; every wait of the engine goes through it.

    Times are seconds. A test puts in a child whose time stands still until it is moved.
    """

    now = staticmethod(time.monotonic)
    """Monotonic seconds: what deadlines and delays are measured in."""

    wall = staticmethod(time.time)
    """Seconds since the epoch: what `Retry-After` dates are compared with."""

    random = staticmethod(random.random)
    """A number in [0, 1)."""

    def acquire(self, lock: BlockingLock, timeout: float) -> bool:
        """Wait for `lock` for at most `timeout` seconds; say whether it was got."""
        return lock.acquire(True, max(0.0, min(timeout, 1e6)))

    def get(self, signals: queue.SimpleQueue[None], timeout: float | None) -> None:
        """Wait for a signal, or for `timeout` seconds (None: until there is one)."""
        try:
            signals.get(timeout=timeout)
        except queue.Empty:
            return


SYSTEM_CLOCK = Clock()
