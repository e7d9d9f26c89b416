"""Run this model on this input, whatever runs it: a device here, a server of yours, an API.

    from ipfs_accelerate_py import ipfs_accelerate_py
    accelerator = ipfs_accelerate_py()
    accelerator.process("sentence-transformers/all-MiniLM-L6-v2", "some text")

Importing this loads the standard library alone. The public names of `api_backends` and `hardware`
can be had from here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api_backends import (
        create_api_backend,
        find_compatible_backend,
        get_available_backends,
        get_backend,
    )
    from hardware import detect_devices, load

    from .core import Accelerator, ipfs_accelerate_py

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "create_api_backend",
    "detect_devices",
    "find_compatible_backend",
    "get_available_backends",
    "get_backend",
    "ipfs_accelerate_py",
    "load",
]

_OWN = {"Accelerator": ".core", "ipfs_accelerate_py": ".core"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _OWN:
        return getattr(import_module(_OWN[name], __name__), name)
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Error"):
        return getattr(import_module("api_backends.errors"), name)
    for package in ("api_backends", "api_backends.types", "hardware"):
        try:
            return getattr(import_module(package), name)
        except AttributeError:
            continue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
