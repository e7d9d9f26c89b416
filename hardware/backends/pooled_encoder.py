"""An encoder of transformers with its pooling, as one torch module: padded batches in, vectors out.

Used by every device: run as it is on processors and GPUs, converted for OpenVINO.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import torch

from api_backends.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.encoder_spec import EncoderSpec

__all__ = ["PooledEncoder", "load_pooled_encoder", "pool"]

# transformers' progress bars are switched for the whole process: one reader at a time.
_quiet_lock = threading.Lock()


def pool(hidden: torch.Tensor, mask: torch.Tensor | None, mode: str) -> torch.Tensor:
    """Return one vector for each text.

    Args:
        hidden: Last hidden states, float32, shape (texts, tokens, width).
        mask: 1 for tokens and 0 for padding, float32, shape (texts, tokens); None: no padding.
        mode: One of `encoder_spec.POOLINGS` but "pooler".

    The formulas are those of sentence-transformers' Pooling module.
    """
    if mode == "cls":
        return hidden[:, 0]
    if mask is None:
        mask = torch.ones(hidden.shape[:2], dtype=hidden.dtype, device=hidden.device)
    weight = mask.unsqueeze(-1)
    if mode == "max":
        return hidden.masked_fill(weight == 0, -1e9).amax(1)
    if mode == "lasttoken":
        last = (mask.long().sum(1) - 1).clamp(min=0)  # padding is on the right
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)
    if mode == "weightedmean":
        weight = weight * torch.cumsum(torch.ones_like(mask), dim=1).unsqueeze(-1)
    total = (hidden * weight).sum(1)
    count = weight.sum(1).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


class PooledEncoder(torch.nn.Module):  # type: ignore[misc]
    """A transformers encoder followed by pooling.

    Args:
        encoder: The model of transformers.
        pooling: How tokens become vectors; several are concatenated.
        with_types: Whether the encoder takes `token_type_ids` (all 0: single texts).
    """

    def __init__(
        self, encoder: torch.nn.Module, pooling: tuple[str, ...], *, with_types: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.with_types = with_types

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return vectors, float32, of shape (texts, dimensions), for (texts, tokens) ids."""
        options: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.with_types:
            options["token_type_ids"] = torch.zeros_like(input_ids)
        output = self.encoder(**options)
        mask = attention_mask.float()
        vectors = [
            output.pooler_output.float()
            if mode == "pooler"
            else pool(output.last_hidden_state.float(), mask, mode)
            for mode in self.pooling
        ]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)


def load_pooled_encoder(spec: EncoderSpec) -> PooledEncoder:
    """Read the checkpoint with transformers, in fp32 on the processor, ready for inference.

    Raises:
        ConfigurationError: The checkpoint doesn't fit its config.json, or lacks tensors.
    """
    import transformers

    name = spec.checkpoint.model
    factory = getattr(transformers, spec.entry.class_name)
    try:
        with _no_progress_bar():
            encoder, report = factory.from_pretrained(
                str(spec.checkpoint.folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"model: {name!r} can't be read by transformers: {error}", model=name
        ) from error
    # A pooler that nothing uses may be absent; anything else would be served as random numbers.
    lacking = [
        key
        for key in report["missing_keys"]
        if "pooler" in spec.pooling or ".pooler." not in f".{key}"
    ]
    if lacking:
        raise ConfigurationError(
            f"model: {name!r} lacks {len(lacking)} tensors that its config.json asks for "
            f"({', '.join(sorted(lacking)[:3])}…): it is damaged, or of another type",
            model=name,
        )
    pooled: PooledEncoder = PooledEncoder(
        encoder.float(), spec.pooling, with_types="token_type_ids" in spec.entry.inputs
    )
    pooled.eval()
    return pooled


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    with _quiet_lock:
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                logging.enable_progress_bar()
