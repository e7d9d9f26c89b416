"""The devices of this machine that models can run on, told truthfully and cheaply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from api_backends.errors import ConfigurationError

from .nvidia import Gpu, detect_gpus
from .processor import detect_processor

__all__ = ["Device", "detect_devices", "resolve_device"]

LOCAL_EXTRA = "pip install 'ipfs_accelerate_py[local]'"
OPENVINO_EXTRA = "pip install 'ipfs_accelerate_py[openvino]'"
_NO_GPU = "no NVIDIA GPU with a working driver was found on this machine"
# Compute capabilities: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities
_CUDA_BF16 = (8, 0)
_CUDA_FP16 = (5, 3)


@dataclass(frozen=True, slots=True)
class Device:
    """Something that runs models: the processor, a GPU, or a device that OpenVINO drives.

    Attributes:
        id: "cpu", "cuda:0", "openvino:CPU", "openvino:GPU.0"…
        kind: "cpu", "cuda" or "openvino": the package that runs it.
        name: What its maker calls it.
        memory_bytes: Memory that models on it can use; 0 where it isn't told.
        instruction_sets: Of the processor (avx2, avx512_bf16, amx_int8, …); empty for GPUs.
        precisions: In which models can be run here, the most exact first.
        available: Whether a model can be loaded on it now.
        reason: What is missing, and how to get it, where it is not available.
    """

    id: str
    kind: str
    name: str
    memory_bytes: int = 0
    instruction_sets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    available: bool = True
    reason: str = ""


def detect_devices() -> list[Device]:
    """Return every device of this machine, those that lack a package or a driver included.

    Imports neither torch nor, unless a GPU or NPU could be there, OpenVINO.
    """
    return [_cpu(), *_cuda_devices(), *_openvino_devices()]


def resolve_device(name: str) -> Device:
    """Return the usable device that `name` means.

    Args:
        name: "cpu", "cuda" (the first GPU), "cuda:1", "openvino" (its CPU), "openvino:GPU",
            "openvino:0" (by place in OpenVINO's list), in any case of letters.

    Raises:
        ConfigurationError: There is no such device, or something is missing to use it.
    """
    if not isinstance(name, str):
        raise ConfigurationError(
            f"device: expected a name such as 'cpu', 'cuda:0' or 'openvino', got {name!r}"
        )
    devices = detect_devices()
    device = _match(name.strip().lower(), devices)
    if device is None:
        there = ", ".join(each.id for each in devices if each.available)
        raise ConfigurationError(
            f"device: there is no {name!r} here; this machine has {there}{_hint(name)}"
        )
    if not device.available:
        raise ConfigurationError(f"device: {name!r} can't be used: {device.reason}")
    return device


def _match(name: str, devices: list[Device]) -> Device | None:
    kind, _, which = name.partition(":")
    of_kind = [device for device in devices if device.kind == kind]
    if not of_kind:
        return None
    if not which:
        return of_kind[0]
    if kind == "openvino" and which.isdigit():
        return of_kind[int(which)] if int(which) < len(of_kind) else None
    exact = next((device for device in of_kind if device.id.lower() == name), None)
    if exact is None and kind == "openvino":  # OpenVINO's "GPU" means its "GPU.0"
        exact = next((device for device in of_kind if device.id.lower() == f"{name}.0"), None)
    return exact


def _hint(name: str) -> str:
    return f": {_NO_GPU}" if name.lower().startswith("cuda") and not detect_gpus() else ""


def _cpu() -> Device:
    processor = detect_processor()
    reason = "" if find_spec("torch") else f"PyTorch is not installed: {LOCAL_EXTRA}"
    return Device(
        id="cpu",
        kind="cpu",
        name=processor.name,
        memory_bytes=processor.memory_bytes,
        instruction_sets=processor.instruction_sets,
        precisions=processor.precisions,
        available=not reason,
        reason=reason,
    )


def _cuda_devices() -> list[Device]:
    gpus = detect_gpus()
    if not gpus:
        return [Device(id="cuda:0", kind="cuda", name="", available=False, reason=_NO_GPU)]
    reason = _torch_lacks_cuda()
    return [_cuda(index, gpu, reason) for index, gpu in enumerate(gpus)]


def _cuda(index: int, gpu: Gpu, reason: str) -> Device:
    precisions = ["fp32"]
    if gpu.capability >= _CUDA_BF16:
        precisions.append("bf16")
    if gpu.capability >= _CUDA_FP16:
        precisions.append("fp16")
    return Device(
        id=f"cuda:{index}",
        kind="cuda",
        name=gpu.name,
        memory_bytes=gpu.memory_bytes,
        precisions=tuple(precisions),
        available=not reason,
        reason=reason,
    )


@lru_cache(maxsize=1)
def _torch_lacks_cuda() -> str:
    """Return why PyTorch can't use a GPU, or "" where it can: read from its files, not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return f"PyTorch is not installed: {LOCAL_EXTRA}"
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return ""  # an unusual build: let PyTorch itself say
    if re.search(r"^cuda\b[^=\n]*=\s*None", text, re.MULTILINE):
        return "the installed PyTorch is built without CUDA: see https://pytorch.org/get-started"
    return ""


def _openvino_devices() -> list[Device]:
    processor = detect_processor()
    reason = "" if find_spec("openvino") else f"OpenVINO is not installed: {OPENVINO_EXTRA}"
    cpu = Device(
        id="openvino:CPU",
        kind="openvino",
        name=processor.name,
        memory_bytes=processor.memory_bytes,
        instruction_sets=processor.instruction_sets,
        precisions=processor.precisions,
        available=not reason,
        reason=reason,
    )
    return [cpu, *(() if reason else _openvino_accelerators())]


@lru_cache(maxsize=1)
def _openvino_accelerators() -> tuple[Device, ...]:
    """Return OpenVINO's GPUs and NPUs; it is only asked where the kernel has such a device."""
    nodes = [*Path("/dev/dri").glob("renderD*"), *Path("/dev/accel").glob("accel*")]
    if not nodes and Path("/dev").is_dir():
        return ()
    import openvino

    core: Any = openvino.Core()
    return tuple(
        _openvino_accelerator(core, name) for name in core.available_devices if name != "CPU"
    )


def _openvino_accelerator(core: Any, name: str) -> Device:
    capable = {str(each).upper() for each in core.get_property(name, "OPTIMIZATION_CAPABILITIES")}
    known = (("fp32", "FP32"), ("bf16", "BF16"), ("fp16", "FP16"))
    try:
        memory = int(core.get_property(name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
    except RuntimeError:
        memory = 0  # NPUs have no such property
    return Device(
        id=f"openvino:{name}",
        kind="openvino",
        name=str(core.get_property(name, "FULL_DEVICE_NAME")),
        memory_bytes=memory,
        precisions=tuple(ours for ours, theirs in known if theirs in capable),
    )
