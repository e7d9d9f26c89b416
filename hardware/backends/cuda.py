"""Models on NVIDIA GPUs, by PyTorch."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError, ConfigurationError
from hardware.devices import LOCAL_EXTRA

from .torch_runner import TorchRunner, padded_forward

if TYPE_CHECKING:
    from hardware.devices import Device
    from hardware.encoder_spec import EncoderSpec

    from .base import TokenBatch

__all__ = ["BACKEND"]

_BUDGET = 16384  # tokens; a GPU needs far larger batches than a processor to be busy


class _Cuda:
    def check(self) -> None:
        """Raise ConfigurationError if PyTorch or transformers is missing."""
        for package in ("torch", "transformers", "tokenizers"):
            if find_spec(package) is None:
                raise ConfigurationError(
                    f"the cuda device needs the package {package}: {LOCAL_EXTRA}"
                )

    def open_encoder(self, spec: EncoderSpec, device: Device, precision: str) -> TorchRunner:
        """Return the checkpoint on the GPU `device.id`.

        Raises:
            ConfigurationError: PyTorch can't use that GPU.
        """
        import torch

        index = int(device.id.partition(":")[2])
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise ConfigurationError(
                f"device: PyTorch sees {torch.cuda.device_count()} GPUs and can't use "
                f"{device.id!r}: check the driver, CUDA_VISIBLE_DEVICES and that this PyTorch "
                "is built for CUDA"
            )
        forward = padded_forward(spec, device.id, precision)
        home = os.getpid()

        def here_only(batch: TokenBatch) -> Any:
            if os.getpid() != home:
                raise ApiError(
                    "CUDA can't be used in a forked process once its parent has used it: load the "
                    "model in the child, or start processes with 'spawn'"
                )
            return forward(batch)

        return TorchRunner(
            here_only,
            mixed=not spec.entry.padding_matters,
            padded=True,
            token_budget=_BUDGET,
            after_fork=lambda: None,
        )


BACKEND = _Cuda()
