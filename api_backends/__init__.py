"""Back ends: one class per provider or server, one call shape, one error tree.

Importing this package loads the standard library alone; a back end's module is imported when it is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import registry
from .registry import (
    create_api_backend,
    find_compatible_backend,
    get_available_backends,
    get_backend,
    suggest_models,
)

if TYPE_CHECKING:
    from . import errors, types
    from .base import BaseApiBackend
    from .chat_stream import ChatStream

__all__ = [
    "BaseApiBackend",
    "ChatStream",
    "create_api_backend",
    "errors",
    "find_compatible_backend",
    "get_available_backends",
    "get_backend",
    "suggest_models",
    "types",
]

_LAZY = {"BaseApiBackend": "base", "ChatStream": "chat_stream"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("errors", "types"):
        return import_module(f".{name}", __name__)
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    # `from api_backends import Groq` reads better than the module path; names of the registry.
    for row in registry.ROWS:
        if name == row.class_name:
            return get_backend(row.name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
