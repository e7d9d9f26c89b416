"""Running a torch forward batch by batch: what processors and CUDA GPUs have in common."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from api_backends.errors import BackendClosedError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from hardware.encoder_spec import EncoderSpec

    from .base import TokenBatch

    Forward = Callable[[TokenBatch], Any]

__all__ = ["TorchRunner", "pad_batch", "padded_forward", "read_tensors", "torch_dtype"]


class TorchRunner:
    """A `Runner` over a function from token ids to a tensor of vectors."""

    parallel = 1

    def __init__(
        self,
        forward: Forward,
        *,
        mixed: bool = True,
        padded: bool,
        token_budget: int,
        after_fork: Callable[[], None],
    ) -> None:
        self.mixed = mixed
        self.padded = padded
        self.token_budget = token_budget
        self._forward: Forward | None = forward
        self._after_fork = after_fork

    def start(self, batch: TokenBatch) -> Callable[[], npt.NDArray[np.float32]]:
        """Return what runs the batch on the thread that asks for its result."""
        return partial(self._run, batch)

    def _run(self, batch: TokenBatch) -> npt.NDArray[np.float32]:
        import torch

        if self._forward is None:
            raise BackendClosedError("the model was closed; load it again")
        with torch.inference_mode():
            vectors: npt.NDArray[np.float32] = self._forward(batch).float().cpu().numpy()
        return vectors

    def after_fork(self) -> None:
        """Make the runner usable in a forked child, or every use of it a clear error."""
        self._after_fork()

    def close(self) -> None:
        """Let go of the weights."""
        self._forward = None


def torch_dtype(precision: str) -> Any:
    """Return torch's type for "fp32", "bf16" or "fp16"."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def read_tensors(spec: EncoderSpec) -> dict[str, Any]:
    """Return the checkpoint's tensors by name, mapped from disk.

    Raises:
        ConfigurationError: A file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    try:
        for path in spec.checkpoint.weights:
            tensors.update(load_file(str(path)))
    except (SafetensorError, OSError) as error:
        raise ConfigurationError(
            f"model: the weights in {spec.checkpoint.folder} are damaged ({error}): delete them "
            "and download them again",
            model=spec.checkpoint.model,
        ) from error
    return tensors


def pad_batch(
    batch: TokenBatch, pad_id: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ids and mask of shape (texts, longest), padded on the right."""
    import numpy as np

    longest = max(map(len, batch))
    ids = np.full((len(batch), longest), pad_id, np.int64)
    mask = np.zeros((len(batch), longest), np.int64)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def padded_forward(spec: EncoderSpec, device: str, precision: str) -> Forward:
    """Return the forward of transformers' own module, over padded batches, on a torch device."""
    import torch

    from .pooled_encoder import load_pooled_encoder

    encoder = load_pooled_encoder(spec).to(device=device, dtype=torch_dtype(precision))

    def forward(batch: TokenBatch) -> Any:
        ids, mask = (torch.from_numpy(each) for each in pad_batch(batch, spec.pad_id))
        return encoder(ids.to(device, non_blocking=True), mask.to(device, non_blocking=True))

    return forward
