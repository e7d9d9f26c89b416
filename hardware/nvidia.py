"""NVIDIA GPUs, read from the driver's management library: no CUDA context, no torch, no process.

The functions and structures are those of NVML: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gpu", "detect_gpus"]

_LIBRARIES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1", "nvml.dll")
_TEXT = 96


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its name, memory in bytes, CUDA compute capability (major, minor) and UUID."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]
    uuid: str


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def detect_gpus() -> list[Gpu]:
    """Return the GPUs that CUDA programs of this process would see, by CUDA_VISIBLE_DEVICES.

    Order: the PCI bus's, or that of CUDA_VISIBLE_DEVICES. Empty without a driver or a GPU.
    """
    if not Path("/proc/driver/nvidia").exists() and os.name == "posix" and not _in_wsl():
        return []
    library = _open_library()
    if library is None or library.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        found = [_read_gpu(library, index) for index in range(count.value)]
    finally:
        library.nvmlShutdown()
    return _visible([gpu for gpu in found if gpu is not None])


def _in_wsl() -> bool:
    return Path("/usr/lib/wsl/lib").exists()


def _open_library() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):  # not installed under this name
            return ctypes.CDLL(name)
    return None


def _read_gpu(library: ctypes.CDLL, index: int) -> Gpu | None:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != 0:
        return None
    name, uuid = ctypes.create_string_buffer(_TEXT), ctypes.create_string_buffer(_TEXT)
    memory, major, minor = _Memory(), ctypes.c_int(), ctypes.c_int()
    library.nvmlDeviceGetName(handle, name, ctypes.c_uint(_TEXT))
    library.nvmlDeviceGetUUID(handle, uuid, ctypes.c_uint(_TEXT))
    library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return Gpu(
        name=name.value.decode(errors="replace"),
        memory_bytes=int(memory.total),
        capability=(major.value, minor.value),
        uuid=uuid.value.decode(errors="replace"),
    )


def _visible(gpus: list[Gpu]) -> list[Gpu]:
    """Return those of `gpus` that CUDA_VISIBLE_DEVICES lets through, in its order.

    https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars: a list of indices
    or UUID prefixes; the first that names no GPU ends it.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    chosen: list[Gpu] = []
    for item in (part.strip() for part in wanted.split(",")):
        if item.isdigit():
            match = gpus[int(item)] if int(item) < len(gpus) else None
        else:
            match = next((gpu for gpu in gpus if item and gpu.uuid.startswith(item)), None)
        if match is None:
            break
        chosen.append(match)
    return chosen
