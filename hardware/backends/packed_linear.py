"""Linear layers whose weights lie in memory as oneDNN's kernels read them.

A plain linear layer of torch brings its weight into that order at every call, or uses a kernel
that does without: for one short text, that costs more than the product itself. The operators are
those that torch.compile's freezing puts in the place of linear layers; they have no public name,
so each layer is compared with the plain one before it is used, and the plain one stays where they
are missing, fail or differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Operation = Callable[[torch.Tensor], torch.Tensor]

__all__ = ["ACTIVATIONS", "linear_layer"]

ACTIVATIONS: dict[str, Operation] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}
# Activations that oneDNN applies while it writes the product: its name for them, and for the kind.
_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
_TYPICAL_TOKENS = 256  # the order of the weights is chosen for about so many rows
_SAMPLE_TOKENS = 7
# Largest difference from the plain layer, relative to its largest value: bf16 keeps 8 bits.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def linear_layer(weight: torch.Tensor, bias: torch.Tensor, activation: str = "") -> Operation:
    """Return the linear layer, followed by one of `ACTIVATIONS` if one is named.

    Args:
        weight: Shape (outputs, inputs).
        bias: Shape (outputs,), of the same type.
        activation: A key of `ACTIVATIONS`, or "".
    """

    def plain(rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = functional.linear(rows, weight, bias)
        return ACTIVATIONS[activation](product) if activation else product

    ordered = _ordered_layer(weight, bias, activation)
    return ordered if ordered is not None and _agree(ordered, plain, weight) else plain


def _ordered_layer(weight: torch.Tensor, bias: torch.Tensor, activation: str) -> Operation | None:
    """Return the layer on a reordered weight, or None where this torch or processor can't."""
    if weight.dtype not in _TOLERANCE or not torch.backends.mkldnn.is_available():
        return None
    fused, kind = _FUSED.get(activation, ("none", ""))
    after = ACTIVATIONS[activation] if activation and activation not in _FUSED else None
    operators: Any = torch.ops.mkldnn
    try:
        if weight.dtype == torch.bfloat16 and not operators._is_mkldnn_bf16_supported():  # noqa: SLF001
            return None
        run: Any = operators._linear_pointwise.default  # noqa: SLF001
        ordered = operators._reorder_linear_weight(weight.contiguous(), _TYPICAL_TOKENS)  # noqa: SLF001
    except (AttributeError, RuntimeError):  # another torch, or one built without oneDNN
        return None

    def layer(rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = run(rows, ordered, bias, fused, [], kind)
        return product if after is None else after(product)

    return layer


def _agree(layer: Operation, plain: Operation, weight: torch.Tensor) -> bool:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn((_SAMPLE_TOKENS, weight.shape[1]), generator=generator).to(weight.dtype)
    wanted = plain(rows).float()
    try:
        got = layer(rows).float()
    except (RuntimeError, TypeError):  # TypeError: other arguments in this torch
        return False
    allowed = _TOLERANCE[weight.dtype] * float(wanted.abs().max().clamp(min=1e-3))
    return got.shape == wanted.shape and float((got - wanted).abs().max()) <= allowed
