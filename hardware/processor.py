"""What this machine's processor and memory are, as the operating system reports them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Processor", "detect_processor"]

# What /proc/cpuinfo calls them (x86 "flags", Arm "Features"), of those that matter to inference.
_KNOWN = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl",
    "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16",
    "asimd", "asimddp", "sve", "bf16", "i8mm",
)  # fmt: skip
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor: name, memory it may use, and what its instruction sets make possible.

    `instruction_sets` is empty where the system doesn't tell (only Linux is read).
    """

    name: str
    memory_bytes: int
    instruction_sets: tuple[str, ...]

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that it computes in by its own instructions, not by emulation."""
        return ("fp32", "bf16") if _BF16.intersection(self.instruction_sets) else ("fp32",)


@lru_cache(maxsize=1)
def detect_processor() -> Processor:
    """Return what the operating system says about the processor and the usable memory."""
    fields = _read_cpuinfo()
    present = set(fields.get("flags", fields.get("Features", "")).split())
    name = fields.get("model name") or platform.processor() or platform.machine() or "processor"
    return Processor(
        name=name,
        memory_bytes=_memory_bytes(),
        instruction_sets=tuple(each for each in _KNOWN if each in present),
    )


def _read_cpuinfo(path: str = "/proc/cpuinfo") -> dict[str, str]:
    """Return the fields of the first processor; nothing where there is no such file."""
    try:
        first = Path(path).read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or its container's if less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0  # not told on this system
    for limit in _CGROUP_LIMITS:
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
