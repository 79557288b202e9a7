"""Norms against their formulas in Python floats."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.nn.norms.layer import LayerNorm
from danlu.nn.norms.rms import RmsNorm

X = [1.0, -2.0, 3.0, 0.5]
W = [1.0, 2.0, -1.0, 0.5]
B = [0.1, 0.0, -0.3, 2.0]


def test_rms_is_its_formula() -> None:
    norm = RmsNorm(4, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(W))
    root = math.sqrt(sum(x * x for x in X) / 4 + 0.01)
    expected = [x / root * w for x, w in zip(X, W, strict=True)]
    assert norm(torch.tensor(X)).tolist() == pytest.approx(expected, rel=1e-6)


def test_rms_does_not_center() -> None:
    torch.testing.assert_close(RmsNorm(4, eps=0.0)(torch.full((4,), 3.0)), torch.ones(4))


def test_layer_is_its_formula() -> None:
    norm = LayerNorm(4, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(W))
        norm.bias.copy_(torch.tensor(B))
    mean = sum(X) / 4
    deviation = math.sqrt(sum((x - mean) ** 2 for x in X) / 4 + 0.01)
    expected = [(x - mean) / deviation * w + b for x, w, b in zip(X, W, B, strict=True)]
    assert norm(torch.tensor(X)).tolist() == pytest.approx(expected, rel=1e-6)


def test_layer_forgets_a_shift() -> None:
    norm, x = LayerNorm(4), torch.tensor(X)
    torch.testing.assert_close(norm(x + 100), norm(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", [RmsNorm(5), LayerNorm(5)], ids=["rms", "layer"])
def test_gradients_are_those_of_finite_differences(norm) -> None:
    norm = norm.double()
    with torch.no_grad():
        norm.weight.add_(torch.randn(5) * 0.5)
    x = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (x, *norm.parameters()))


def test_rms_agrees_with_torch() -> None:
    norm, x = RmsNorm(64), torch.randn(7, 64)
    torch.testing.assert_close(norm(x), torch.nn.functional.rms_norm(x, (64,), norm.weight, 1e-6))
