"""The small interface that every kind of device fills in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from api_backends.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardware.devices import Device
    from hardware.encoder_spec import EncoderSpec

__all__ = ["DeviceBackend", "Runner", "TokenBatch", "choose_precision", "load_backend"]

TokenBatch = Sequence[Sequence[int]]
"""Token ids of several texts, the longest text first."""


class Runner(Protocol):
    """A model's weights on one device. One thread at a time calls it.

    Attributes:
        mixed: Whether texts of different lengths may share a batch.
        padded: Whether a batch costs its longest text times its number of texts.
        parallel: How many started batches the device works on at once.
        token_budget: Tokens (padding included, where padded) of the largest sensible batch.
    """

    mixed: bool
    padded: bool
    parallel: int
    token_budget: int

    def start(self, batch: TokenBatch) -> Callable[[], npt.NDArray[np.float32]]:
        """Start a batch; what is returned waits for it and gives its vectors.

        The vectors have shape (texts, dimensions), are float32 and not normalised. At most
        `parallel` batches are started and not yet waited for.
        """

    def after_fork(self) -> None:
        """Called in a forked child: threads and devices of the parent are not there any more."""

    def close(self) -> None:
        """Give the memory back."""


class DeviceBackend(Protocol):
    """What a module of `hardware.backends` has to offer."""

    def check(self) -> None:
        """Raise ConfigurationError if a package that the device needs is missing."""

    def open_encoder(self, spec: EncoderSpec, device: Device, precision: str) -> Runner:
        """Return the checkpoint's weights on `device` in `precision`, ready to run."""


def load_backend(device: Device) -> DeviceBackend:
    """Return the back end that runs `device`, all its packages found.

    Raises:
        ConfigurationError: A package is missing.
    """
    backend: DeviceBackend = import_module(f".{device.kind}", __package__).BACKEND
    backend.check()
    return backend


def choose_precision(device: Device, wanted: str) -> str:
    """Return the precision to run in: `wanted`, or the fastest that the device really has.

    "auto" takes bf16 where the device computes in it (for encoders its vectors stay within 1e-3
    cosine distance of fp32), else fp16 on a GPU, else fp32.

    Raises:
        ConfigurationError: The device can't compute in `wanted`.
    """
    usable = device.precisions or ("fp32",)
    if wanted == "auto":
        return next((each for each in ("bf16", "fp16") if each in usable), "fp32")
    if wanted not in usable:
        raise ConfigurationError(
            f"precision: {device.id} ({device.name}) can't run {wanted!r}; it runs "
            f"{', '.join(usable)}, and 'auto' picks the fastest"
        )
    return wanted
