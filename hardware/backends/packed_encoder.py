"""The forward of BERT-like encoders over texts laid end to end, with no padding at all.

Everything but attention treats tokens one by one, so the texts of a batch can simply be joined:
one matrix of all their tokens goes through each linear layer. Attention is done for the texts of
each length together, which needs neither padding nor a mask. The tensors are named by a
`PackedLayout`; a checkpoint that has any other tensor is not of this kind, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from .packed_linear import ACTIVATIONS, linear_layer
from .pooled_encoder import pool

if TYPE_CHECKING:
    from hardware.encoder_spec import EncoderSpec
    from hardware.models import PackedLayout

    from .base import TokenBatch
    from .packed_linear import Operation

__all__ = ["PackedEncoder", "read_packed_encoder"]

# Settings of config.json that change the forward; with another value it is not this one.
_EXPECTED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "sinusoidal_pos_embds": False,
}

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: Operation
    attention_output: Operation
    attention_norm: Pair
    intermediate: Operation  # with the activation
    output: Operation
    output_norm: Pair


class _Tensors:
    """The checkpoint's tensors by the layout's names; remembers which were used."""

    def __init__(self, state: dict[str, torch.Tensor], layout: PackedLayout) -> None:
        self._state = state
        self._names = layout.names
        first = layout.names["word_embeddings"] + ".weight"
        self._prefix = next((each for each in layout.prefixes if each + first in state), "")
        self.unused = set(state)

    def get(self, part: str, kind: str, layer: str = "") -> torch.Tensor:
        key = f"{self._prefix}{layer}{self._names[part]}.{kind}"
        self.unused.discard(key)
        return self._state[key]

    def pair(self, part: str, dtype: torch.dtype, layer: str = "") -> Pair:
        return self.get(part, "weight", layer).to(dtype), self.get(part, "bias", layer).to(dtype)

    def left(self, ignored: tuple[str, ...]) -> list[str]:
        return [
            key
            for key in self.unused
            if not key.removeprefix(self._prefix).startswith(ignored)
            and not key.startswith(ignored)
        ]


def read_packed_encoder(
    spec: EncoderSpec, state: dict[str, torch.Tensor], dtype: torch.dtype
) -> PackedEncoder | None:
    """Return the forward of a checkpoint's tensors; None where it is not of the packed kind."""
    layout = spec.entry.packed_layout
    config = spec.checkpoint.config
    if layout is None or "pooler" in spec.pooling:
        return None
    if any(config.get(key, value) != value for key, value in _EXPECTED.items()):
        return None
    settings = {
        name: config.get(key) if isinstance(key, str) else key
        for name, key in layout.config.items()
    }
    if settings["activation"] not in ACTIVATIONS or None in settings.values():
        return None
    tensors = _Tensors(state, layout)
    try:
        encoder = PackedEncoder(spec, tensors, settings, dtype)
    except KeyError:
        return None  # tensors under other names
    return None if tensors.left(layout.unused) else encoder


class PackedEncoder:
    """A BERT-like encoder with its pooling, on the processor.

    Args:
        spec: What the checkpoint is.
        tensors: Its tensors.
        settings: "layers", "heads", "activation" and "norm_eps".
        dtype: What the linear layers compute in.
    """

    def __init__(
        self, spec: EncoderSpec, tensors: _Tensors, settings: dict[str, Any], dtype: torch.dtype
    ) -> None:
        layout = spec.entry.packed_layout
        assert layout is not None
        self._pooling = spec.pooling
        self._heads = int(settings["heads"])
        self._eps = float(settings["norm_eps"])
        self._dtype = dtype
        self._words = tensors.get("word_embeddings", "weight")
        positions = tensors.get("position_embeddings", "weight")
        if spec.entry.positions_after_padding:
            positions = positions[spec.pad_id + 1 :]
        if "token_type_embeddings" in layout.names:  # single texts: all of type 0
            positions = positions + tensors.get("token_type_embeddings", "weight")[0]
        self._positions = positions
        self._embedding_norm = tensors.pair("embedding_norm", torch.float32)
        self._layers = [
            _read_layer(tensors, layout.layer.format(index), dtype, settings["activation"])
            for index in range(int(settings["layers"]))
        ]

    def __call__(self, batch: TokenBatch) -> torch.Tensor:
        """Return vectors, float32, shape (texts, dimensions), for texts sorted by length."""
        lengths = [(length, len(list(same))) for length, same in groupby(map(len, batch))]
        ids = torch.tensor(list(chain.from_iterable(batch)))
        positions = torch.cat([torch.arange(length).repeat(count) for length, count in lengths])
        hidden = functional.embedding(ids, self._words).float()
        hidden += functional.embedding(positions, self._positions)
        hidden = self._norm(hidden, self._embedding_norm).to(self._dtype)
        for layer in self._layers:
            hidden = self._run_layer(layer, hidden, lengths)
        return self._pool(hidden, lengths)

    def _norm(self, hidden: torch.Tensor, weights: Pair) -> torch.Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *weights, self._eps)

    def _run_layer(
        self, layer: _Layer, hidden: torch.Tensor, lengths: list[tuple[int, int]]
    ) -> torch.Tensor:
        attended = layer.attention_output(self._attend(layer.qkv(hidden), lengths))
        hidden = self._norm(attended.add_(hidden), layer.attention_norm)
        inner = layer.intermediate(hidden)
        return self._norm(layer.output(inner).add_(hidden), layer.output_norm)

    def _attend(self, qkv: torch.Tensor, lengths: list[tuple[int, int]]) -> torch.Tensor:
        width = qkv.shape[1] // 3
        context = torch.empty(qkv.shape[0], width, dtype=qkv.dtype)
        start = 0
        for length, count in lengths:
            end = start + length * count
            shape = (count, length, 3, self._heads, width // self._heads)
            # In fp32: for texts, torch's attention is faster so, and more exact, than in bf16.
            query, key, value = qkv[start:end].float().view(shape).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            target = context[start:end].view(count, length, self._heads, -1)
            target.copy_(mixed.transpose(1, 2))
            start = end
        return context

    def _pool(self, hidden: torch.Tensor, lengths: list[tuple[int, int]]) -> torch.Tensor:
        vectors = []
        start = 0
        for length, count in lengths:
            end = start + length * count
            group = hidden[start:end].float().view(count, length, -1)
            vectors.append(torch.cat([pool(group, None, mode) for mode in self._pooling], dim=-1))
            start = end
        return torch.cat(vectors)


def _read_layer(tensors: _Tensors, prefix: str, dtype: torch.dtype, activation: str) -> _Layer:
    def linear(part: str, then: str = "") -> Operation:
        return linear_layer(*tensors.pair(part, dtype, prefix), then)

    inputs = [tensors.pair(part, dtype, prefix) for part in ("query", "key", "value")]
    weight, bias = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    return _Layer(
        qkv=linear_layer(weight, bias),
        attention_output=linear("attention_output"),
        attention_norm=tensors.pair("attention_norm", dtype, prefix),
        intermediate=linear("intermediate", activation),
        output=linear("output"),
        output_norm=tensors.pair("output_norm", dtype, prefix),
    )
