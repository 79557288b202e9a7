"""Feed-forwards against their formulas in Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from danlu.nn.dims import Dims
from danlu.nn.ffns import FFNS
from danlu.nn.layout import Layout

DIMS = Dims(vocab=5, model=3, heads=1, layers=1, context=8, ffn=4)


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: float) -> float:
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


CASES: list[tuple[str, dict, Callable[[float], float], bool]] = [
    ("relu", {}, lambda x: max(x, 0.0), False),
    ("swish", {}, silu, False),
    ("gelu", {}, gelu, False),
    ("gelu", {"tanh": True}, gelu_tanh, False),
    ("swiglu", {}, silu, True),
    ("geglu", {}, gelu, True),
    ("geglu", {"tanh": True}, gelu_tanh, True),
]


def linear(weight: list[list[float]], bias: list[float], x: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


@pytest.mark.parametrize(("name", "settings", "activation", "gated"), CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_the_formula(name, settings, activation, gated, bias) -> None:
    ffn = FFNS[name](DIMS, bias=bias, **settings).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in ffn.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = [0.7, -1.3, 2.0]

    def layer(module: torch.nn.Linear, value: list[float]) -> list[float]:
        zeros = [0.0] * module.out_features
        return linear(module.weight.tolist(), zeros if module.bias is None else module.bias.tolist(), value)

    up = layer(ffn.up, x)
    inner = (
        [activation(g) * u for g, u in zip(layer(ffn.gate, x), up, strict=True)] if gated else list(map(activation, up))
    )
    found = ffn(torch.tensor([[x]], dtype=torch.double), Layout.dense(torch.ones(1, 1)))
    assert found.flatten().tolist() == pytest.approx(layer(ffn.down, inner), rel=1e-9)


@pytest.mark.parametrize(("name", "settings", "activation", "gated"), CASES)
def test_gradients_are_those_of_finite_differences(name, settings, activation, gated) -> None:
    ffn = FFNS[name](DIMS, **settings).double()
    for parameter in ffn.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 2, 3, dtype=torch.double, requires_grad=True)
    layout = Layout.dense(torch.ones(1, 2))
    assert torch.autograd.gradcheck(lambda x, *_: ffn(x, layout), (x, *ffn.parameters()))


@pytest.mark.parametrize(("name", "widths"), [("swiglu", 2), ("geglu", 2), ("gelu", 1)])
def test_the_product_is_not_kept_for_backward(name, widths) -> None:
    """Of the tensors as wide as the feed-forward, only those that enter the activation live until backward."""
    dims = Dims(vocab=5, model=8, heads=1, layers=1, context=8, ffn=100)
    ffn, x = FFNS[name](dims), torch.randn(1, 7, 8, requires_grad=True)
    live = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: live.append(t) or t, lambda t: t):
        out = ffn(x, Layout.dense(torch.ones(1, 7)))
    wide = {t.untyped_storage().data_ptr() for t in live if t.numel() == 700}
    assert len(wide) == widths
    out.sum().backward()
    assert x.grad is not None
