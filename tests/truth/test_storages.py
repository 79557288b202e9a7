"""Storages against formulas of their own, and cases worked by hand."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from danlu.nn.storages import STORAGES, Stored
from danlu.quant.packed import Packed

AXES = ("out", "in")


def kept(name: str, weight: Tensor, **settings: object) -> Stored:
    return STORAGES[name](**settings).keep(weight, None, AXES)


@pytest.mark.parametrize(("name", "places"), [("bf16", 7), ("fp16", 10)])
def test_half_width_rounds_to_the_nearest_of_its_fractions(name: str, places: int) -> None:
    step = 2.0**-places
    weight = torch.tensor([[1 + 0.4 * step, 1 + 0.6 * step, 1 + 0.5 * step, 1 + 1.5 * step]])  # halfway: to the even
    assert kept(name, weight).dense().tolist() == [[1, 1 + step, 1, 1 + 2 * step]]
    x = torch.randn(3, 4)
    assert torch.allclose(kept(name, weight)(x), x @ torch.tensor([[1, 1 + step, 1, 1 + 2 * step]]).T)


def test_llm_int8_by_hand() -> None:
    weight = torch.tensor([[2.54, -1.27, 0.011, 0.0], [0.0, 0.0, 0.0, 0.0]])
    part = kept("llm_int8", weight)
    assert part.tensors()["weight"].tolist() == [[127, -64, 1, 0], [0, 0, 0, 0]]  # 63.5 to the even
    assert torch.allclose(part.dense(), torch.tensor([[2.54, -1.28, 0.02, 0.0], [0.0, 0.0, 0.0, 0.0]]), atol=1e-6)


def test_nf4_by_hand() -> None:
    """One block of 32: its largest is 2, so 0.9 is 0.45 of it, and 0.4407 is the nearest value, number 12."""
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([-2.0, 0.9, 2.0, 0.0])
    part = kept("nf4", weight, block=32, double=False)
    assert isinstance(part, Packed)
    assert part.packed[:3].flatten().tolist() == [0 << 4 | 12, 15 << 4 | 7, 7 << 4 | 7]
    assert part.absmax.tolist() == [2.0]
    assert torch.allclose(part.dense()[0, :4], torch.tensor([-2.0, 2 * 0.44070983, 2.0, 0.0]))


def test_nf4s_values_are_quantiles_of_a_normal_distribution() -> None:
    """8 equal steps of probability below 1/2 and 9 above, from δ = (1/32 + 1/30)/2 on, scaled to end at ±1 (appendix E)."""
    delta = (1 / 32 + 1 / 30) / 2
    quantile = NormalDist().inv_cdf
    below = [quantile(delta + (0.5 - delta) * i / 7) for i in range(7)]
    above = [quantile(0.5 + (0.5 - delta) * i / 8) for i in range(1, 9)]
    values = torch.tensor([*below, 0.0, *above]) / -below[0]
    assert torch.allclose(torch.tensor(STORAGES["nf4"].code), values, atol=2e-6)  # type: ignore[attr-defined]


def test_fp4s_values_are_those_of_two_bits_of_exponent_and_one_of_fraction() -> None:
    """(1 + fraction / 2) · 2^exponent in twelfths, and what is below the smallest."""
    normal = {(1 + fraction / 2) * 2**exponent / 12 for exponent in (1, 2, 3) for fraction in (0, 1)}
    code = STORAGES["fp4"].code  # type: ignore[attr-defined]
    assert {value for value in code if value > 0.1} == normal
    assert code[8:] == tuple(-value for value in code[:8])
    assert sorted(value for value in code[:8] if value < 0.1) == [0.0, 1 / 192]


@pytest.mark.parametrize("name", ["nf4", "fp4"])
def test_four_bits_take_the_nearest_value(name: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 64)
    part = kept(name, weight, double=False)
    scale = weight.view(-1, 64).abs().amax(1, keepdim=True)
    code = torch.tensor(STORAGES[name].code)  # type: ignore[attr-defined]
    unit = weight.view(-1, 64) / scale
    nearest = (unit[..., None] - code).abs().amin(-1)
    assert torch.allclose((part.dense().view(-1, 64) / scale - unit).abs(), nearest, atol=1e-6)


def test_double_quantization_costs_constants_less_than_a_hundredth() -> None:
    torch.manual_seed(0)
    weight = torch.randn(256, 1024)
    single, double = (kept("nf4", weight, double=double) for double in (False, True))
    assert isinstance(single, Packed)
    assert isinstance(double, Packed)
    assert torch.equal(single.packed, double.packed)
    assert ((double.constants() - single.constants()).abs() / single.constants()).max() < 0.01
    assert double.storage.bits == pytest.approx(4.127, abs=1e-3)
    assert single.storage.bits == 4.5
