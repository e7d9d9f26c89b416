"""Models on the processor, by PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from api_backends.errors import ConfigurationError
from hardware.devices import LOCAL_EXTRA

from .torch_runner import TorchRunner, padded_forward, read_tensors, torch_dtype

if TYPE_CHECKING:
    from hardware.devices import Device
    from hardware.encoder_spec import EncoderSpec

__all__ = ["BACKEND"]

_BUDGET = 2048


class _Processor:
    def check(self) -> None:
        """Raise ConfigurationError if PyTorch is missing."""
        for package in ("torch", "safetensors", "tokenizers"):
            if find_spec(package) is None:
                raise ConfigurationError(
                    f"the cpu device needs the package {package}: {LOCAL_EXTRA}"
                )

    def open_encoder(self, spec: EncoderSpec, device: Device, precision: str) -> TorchRunner:
        """Return the checkpoint, packed without padding where its type allows it."""
        del device  # there is one processor
        import torch

        from .packed_encoder import read_packed_encoder

        if spec.entry.packed_layout is not None:
            with torch.inference_mode():
                packed = read_packed_encoder(spec, read_tensors(spec), torch_dtype(precision))
            if packed is not None:
                return TorchRunner(
                    packed, padded=False, token_budget=_BUDGET, after_fork=_single_thread
                )
        if find_spec("transformers") is None:
            raise ConfigurationError(
                f"model: {spec.checkpoint.model!r} needs the package transformers: {LOCAL_EXTRA}",
                model=spec.checkpoint.model,
            )
        return TorchRunner(
            padded_forward(spec, "cpu", precision),
            mixed=not spec.entry.padding_matters,
            padded=True,
            token_budget=_BUDGET,
            after_fork=_single_thread,
        )


def _single_thread() -> None:
    """Keep a forked child from hanging: its OpenMP believes in threads that fork didn't copy."""
    import torch

    torch.set_num_threads(1)


BACKEND = _Processor()
