"""`load`: the one way to a model on a device of this machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from api_backends.errors import ConfigurationError

from . import local_model
from .backends.base import choose_precision, load_backend
from .checkpoints import find_checkpoint
from .devices import Device, resolve_device
from .encoder_spec import find_entry

if TYPE_CHECKING:
    import os
    from weakref import WeakValueDictionary

    from .local_model import LocalModel

__all__ = ["load"]

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
_Key = tuple[str, str, str, str]


def _registry() -> WeakValueDictionary[_Key, LocalModel]:
    from weakref import WeakValueDictionary

    global _loaded  # noqa: PLW0603 (one registry a process: that is what sharing means)
    if _loaded is None:
        _loaded = WeakValueDictionary()
    return _loaded


_loaded: WeakValueDictionary[_Key, LocalModel] | None = None


def load(
    model: str | os.PathLike[str],
    device: str | Device = "cpu",
    *,
    precision: str = "auto",
    revision: str | None = None,
    local_files_only: bool | None = None,
    queue_size: int = 1000,
) -> LocalModel:
    """Return `model` on `device`: the same object for the same model, device and precision.

    Files are found and checked now; weights are loaded at the first call or by `warmup()`.
    Every `load` is matched by a `close`: the last one frees the memory.

    Args:
        model: A local folder, or a hub id such as "sentence-transformers/all-MiniLM-L6-v2".
        device: A `Device`, or its name: "cpu", "cuda:1", "openvino", "openvino:GPU.0".
        precision: "fp32", "bf16", "fp16", or "auto" for the fastest that the device really has.
        revision: Branch, tag or commit on the hub.
        local_files_only: Never use the network; the hub's own settings decide if None.
        queue_size: Calls that may wait at once (of the first to load it).

    Raises:
        ConfigurationError: An argument, the checkpoint or the installation can't be used.
        ModelNotFoundError: There is no such model.
        ApiConnectionError: It is not on this disk, and the hub can't be reached.
    """
    if precision not in PRECISIONS:
        raise ConfigurationError(
            f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    _check_queue_size(queue_size)
    place = device if isinstance(device, Device) else resolve_device(device)
    load_backend(place)
    chosen = choose_precision(place, precision)
    checkpoint = find_checkpoint(model, revision=revision, local_files_only=local_files_only)
    entry = find_entry(checkpoint)
    why_not = entry.devices.get(place.kind, "it was never tried")
    if why_not:
        raise ConfigurationError(
            f"device: models of type {entry.model_type!r} don't run on {place.kind}: {why_not}",
            model=checkpoint.model,
        )
    task = import_module(f".tasks.{entry.task.replace('-', '_')}", __package__)
    key = (str(checkpoint.folder), checkpoint.model, place.id, chosen)
    with local_model._registry_lock:  # noqa: SLF001 (shared with close)
        found = _registry().get(key)
        if found is None or found._closed:  # noqa: SLF001
            made: LocalModel = task.MODEL(checkpoint, place, chosen, queue_size)
            found = _registry()[key] = made
        found._users += 1  # noqa: SLF001
    return found


def _check_queue_size(queue_size: Any) -> None:
    if not isinstance(queue_size, int) or isinstance(queue_size, bool) or queue_size < 1:
        raise ConfigurationError(f"queue_size: expected a whole number from 1, got {queue_size!r}")
