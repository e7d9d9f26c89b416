"""Models on the devices of this machine: processors, NVIDIA GPUs and what OpenVINO can reach.

    import hardware
    model = hardware.load("sentence-transformers/all-MiniLM-L6-v2", "openvino")
    vectors = model(["a text", "another"]).embeddings

Importing this package loads the standard library alone; numpy, torch, transformers and OpenVINO
come where they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .devices import Device, detect_devices, resolve_device
    from .loading import load
    from .local_model import LocalModel
    from .models import ModelEntry, mapped_models

__all__ = [
    "Device",
    "LocalModel",
    "ModelEntry",
    "detect_devices",
    "load",
    "mapped_models",
    "resolve_device",
]

_HOMES = {
    "Device": "devices",
    "LocalModel": "local_model",
    "ModelEntry": "models",
    "detect_devices": "devices",
    "load": "loading",
    "mapped_models": "models",
    "resolve_device": "devices",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
