"""Precisions: the rounding of their products, what stays fp32, and gradients that only a loss scale saves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from danlu.train.precisions import Precision
from danlu.train.precisions.bf16 import Bf16
from danlu.train.precisions.fp16 import Fp16
from danlu.train.precisions.fp32 import Fp32
from danlu.train.precisions.scales.static import Static
from danlu.train.precisions.tf32 import Tf32


def rounding(precision: Precision) -> float:
    """The relative error of one product 1 · x, x with many bits of fraction; log2 of it tells the format's width."""
    x = 1 + 2**-5 + 2**-9 + 2**-13 + 2**-17
    layer = nn.Linear(16, 1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[0, 0] = 1.0
    inputs = torch.zeros(1, 16)
    inputs[0, 0] = x
    with precision.around_run(), precision.forward("cpu"):
        found = layer(inputs)
    return abs(found.double().item() - x)


def test_products_carry_the_rounding_of_their_format() -> None:
    assert rounding(Fp32()) < 2**-20
    assert rounding(Tf32()) < 2**-20  # without tensor cores it is fp32
    assert rounding(Bf16()) == pytest.approx(2**-9 + 2**-13 + 2**-17)  # 7 bits of fraction
    assert rounding(Fp16()) == pytest.approx(2**-13 + 2**-17)  # 10 bits of fraction


@pytest.mark.parametrize("precision", [Fp32(), Tf32(), Bf16(), Fp16()], ids=lambda p: type(p).__name__)
def test_weights_and_gradients_stay_fp32(precision: Precision) -> None:
    layer = nn.Linear(4, 4)
    with precision.around_run():
        with precision.forward("cpu"):
            loss = layer(torch.ones(2, 4)).float().sum()
        loss.backward()
    assert {layer.weight.dtype, layer.weight.grad.dtype} == {torch.float32}  # type: ignore[union-attr]


@pytest.mark.parametrize(("scale", "survives"), [(1.0, False), (2.0**10, True)])
def test_a_small_gradient_survives_by_its_scale(scale: float, survives: bool) -> None:
    """2⁻²⁶ lies below fp16's smallest number 2⁻²⁴."""
    precision = Fp16(scaling=Static(value=scale))
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        first.weight.fill_(1.0)
        second.weight.fill_(1.0)
    with precision.forward("cpu"):
        loss = second(first(torch.ones(1, 1))).float().sum() * 2**-26
    assert precision.scale
    (loss * precision.scale.value).backward()
    found = first.weight.grad.item() / precision.scale.value  # type: ignore[union-attr]
    assert found == (pytest.approx(2**-26) if survives else 0.0)


def test_tf32_holds_within_a_run_only() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    with Tf32().around_run():
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tf32_rounds_products_on_cuda() -> None:
    a = torch.randn(256, 256, device="cuda")
    exact = a.double() @ a.double()
    with Tf32().around_run():
        error = (a @ a - exact).abs().max().item()
    assert 2**-12 < error / math.sqrt(256) < 2**-6
