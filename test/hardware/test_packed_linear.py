"""Linear layers on reordered weights compute what plain ones do, or give way to them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hardware.backends import packed_linear  # noqa: E402 (needs torch)


def layer_parts(dtype, outputs=24, inputs=16):
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn((outputs, inputs), generator=generator).to(dtype)
    return weight, torch.randn(outputs, generator=generator).to(dtype)


@pytest.mark.parametrize("activation", ["", *packed_linear.ACTIVATIONS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_computes_what_a_plain_layer_computes(activation, dtype, tolerance):
    weight, bias = layer_parts(dtype)
    layer = packed_linear.linear_layer(weight, bias, activation)
    for tokens in (1, 5, 300):
        rows = torch.randn((tokens, 16), generator=torch.Generator().manual_seed(tokens)).to(dtype)
        wanted = rows.double() @ weight.double().T + bias.double()
        if activation:
            wanted = packed_linear.ACTIVATIONS[activation](wanted)
        with torch.inference_mode():
            got = layer(rows)
        assert got.dtype == dtype
        assert float((got.double() - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


@pytest.mark.parametrize("wrong", ["differs", "raises", "missing"])
def test_a_layer_that_is_not_right_is_not_used(monkeypatch, wrong):
    weight, bias = layer_parts(torch.float32)

    def broken(rows):
        if wrong == "raises":
            raise RuntimeError("not on this processor")
        return torch.nn.functional.linear(rows, weight, bias) * 1.001

    monkeypatch.setattr(
        packed_linear, "_ordered_layer", lambda *_: None if wrong == "missing" else broken
    )
    rows = torch.ones((2, 16))
    got = packed_linear.linear_layer(weight, bias)(rows)
    assert torch.equal(got, torch.nn.functional.linear(rows, weight, bias))
