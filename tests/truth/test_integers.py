"""Weights and activations as whole numbers: cases worked by hand, and every kernel against the formula in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.nn import native
from danlu.nn.storages import STORAGES
from danlu.quant import kernels
from danlu.quant.whole import Whole
from danlu.quant.widths import WIDTHS

AXES = ("out", "in")
KEPT = [
    ("int8", {}), ("int8", {"group": 32}), ("int8", {"group": 128}), ("int4", {}), ("int4", {"group": 64}),
    ("int4", {"group": 128}), ("int4", {"group": None}),
    ("int4", {"zero": True}), ("int4", {"zero": True, "group": None}), ("int8", {"zero": True, "group": 64}),
]  # fmt: skip
everyway = pytest.mark.parametrize(("name", "settings"), KEPT)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def kept(name: str, weight: Tensor, **settings: Any) -> Whole:
    part = STORAGES[name](**settings).keep(weight, None, AXES)
    assert isinstance(part, Whole)
    return part


@pytest.fixture(params=["native", "torch"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the kernels that are compiled, once as where there is no compiler."""
    if request.param == "torch":
        monkeypatch.setattr(native, "ready", lambda: False)
    elif not native.ready():
        pytest.skip(f"no native kernels: {native.why()}")


def test_int8_by_hand() -> None:
    """Scales of 2 and 0: 254 / 127, and whatever a row of zeros has."""
    part = kept("int8", torch.tensor([[254.0, -3.0, 5.1, -254.0], [0.0, 0.0, 0.0, 0.0]]))
    assert part.weight.tolist() == [[127, -2, 3, -127], [0, 0, 0, 0]]  # -1.5 to the even
    assert part.scale[0].item() == 2
    assert part.dense().tolist() == [[254, -4, 6, -254], [0, 0, 0, 0]]


def test_int4_by_hand() -> None:
    """Groups of 16 with maxima 15 and 7.5: scales 2 and 1, numbers -8 … 7 two a byte, the first in the lower half."""
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([15.0, -15.0, 3.0, -4.2])
    weight[0, 16:18] = torch.tensor([-7.5, 0.6])
    part = kept("int4", weight, group=16)
    assert part.scale.tolist() == [[2, 1]]
    assert part.numbers()[0, [0, 1, 2, 3, 16, 17]].tolist() == [7, -8, 2, -2, -8, 1]
    assert part.weight[0, [0, 1, 2, 8]].tolist() == [15 | 0 << 4, 10 | 6 << 4, 0x88, 0 | 9 << 4]
    assert part.dense()[0, [0, 1, 2, 3, 16, 17]].tolist() == [14, -16, 4, -4, -8, 1]


def test_w8a8_by_hand() -> None:
    """x = (127.5, -63.75) has scale 1 and numbers 127 (128 does not fit) and -64; the weights' scale is 2."""
    part = kept("w8a8", torch.tensor([[254.0, 2.0]]))
    x = torch.tensor([[127.5, -63.75], [0.0, 0.0]])
    assert part.read(x).tolist() == [[127, -64], [0, 0]]
    assert part(x).tolist() == [[2 * (127 * 127 - 64)], [0]]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("count", [1, 7, 8, 30, 64])
def test_numbers_are_packed_and_unpacked(bits: int, count: int) -> None:
    width = WIDTHS[bits]
    numbers = torch.randint(width.least, -width.least, (5, count), dtype=torch.int8)
    packed = width.pack(numbers)
    assert packed.nbytes == 5 * width.bytes_(count)
    assert torch.equal(width.unpack(packed, count, torch.int8), numbers)
    words = width.words(packed)
    assert words.dtype == torch.int32
    assert torch.equal(width.of_words(words, count), packed)
    first = int(words[0, 0]) & (2**bits - 1)
    assert first == int(numbers[0, 0]) - width.least


def test_zeros_by_hand() -> None:
    """From -1 to 29 in 15 steps of 2: 0 is a number, -8 + 0.5 to the even; ends that do not reach over 0 go to it."""
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([-1.0, 29.0, 0.0, 3.0])
    weight[0, 16:] = 30.0
    part = kept("int4", weight, group=16, zero=True)
    assert part.scale.tolist() == [[2, 2]]
    assert part.zero is not None
    assert part.zero.tolist() == [[-8, -8]]
    assert part.numbers()[0, [0, 1, 2, 3, 16]].tolist() == [-8, 6, -8, -6, 7]
    assert part.dense()[0, [0, 1, 2, 3, 16]].tolist() == [0, 28, 0, 4, 30]


def test_zeros_are_nearer_where_groups_lean_to_a_side() -> None:
    torch.manual_seed(0)
    weight = torch.rand(32, 128) + 0.1
    with_zero, without = (kept("int4", weight, zero=zero) for zero in (True, False))
    assert (with_zero.dense() - weight).norm() < 0.6 * (without.dense() - weight).norm()


@everyway
def test_each_number_is_the_nearest(name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(40, 256)
    part = kept(name, weight, **settings)
    size = 256 // part.scale.shape[1]
    scale = part.scale.float().repeat_interleave(size, 1)
    zero = 0 if part.zero is None else part.zero.repeat_interleave(size, 1)
    inside = (weight / scale + zero).clamp(part.width.least, -part.width.least - 1) == weight / scale + zero
    assert inside.float().mean() > 0.95
    assert ((part.dense() - weight).abs() / scale)[inside].max() <= 0.5 + 1e-4
    assert ((part.dense() - weight).abs() / scale).max() <= 1.5  # ends: a scale rounded to bf16, and a zero


@pytest.mark.usefixtures("without")
@everyway
@dtypes
@pytest.mark.parametrize("rows", [1, 3, 8, 9, 40])
def test_products_are_those_of_the_full_weight(
    name: str, settings: dict[str, Any], dtype: torch.dtype, rows: int
) -> None:
    """Only fp32 or bf16 round: no activation is."""
    torch.manual_seed(rows)
    part = kept(name, torch.randn(48, 256) * 0.1, **settings)
    x = torch.randn(rows, 256).to(dtype)
    exact = x.double() @ part.dense().double().t()
    error = ((part(x).double() - exact).norm() / exact.norm()).item()
    assert error < (1e-6 if dtype == torch.float32 else 0.006)


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("rows", [1, 3, 40])
@dtypes
def test_tokens_are_rounded_and_nothing_else(rows: int, dtype: torch.dtype) -> None:
    """Even sums of the largest numbers hold, and a row alone answers the same bits."""
    torch.manual_seed(rows)
    weight = torch.randn(48, 256)
    weight[0], weight[1] = 1.0, -1.0
    part = kept("w8a8", weight)
    x = torch.randn(rows, 256).to(dtype)
    x[0] = 3.0
    read = part.read(x.float()).double()
    exact = read @ part.dense().double().t()
    y = part(x)
    assert ((y.double() - exact).norm() / exact.norm()).item() < (1e-6 if dtype == torch.float32 else 0.003)
    assert torch.equal(part(x[:1]), y[:1])


def test_onednn_multiplies_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the weights are zero, so that pairs hold even where they are added up in 16 bits."""
    monkeypatch.setattr(kernels, "_multiplies_bytes", lambda: True)
    torch.manual_seed(0)
    weight = torch.randn(48, 256)
    weight[:, 1::2] = 0
    part = kept("w8a8", weight)
    for rows in (1, 5, 40):
        x = torch.randn(rows, 256)
        y = kernels.Onednn().run(part, x)
        assert y is not None
        assert torch.allclose(y, part.times(x), rtol=1e-6, atol=1e-6)


def test_onednn_holds_the_largest_sums_where_it_is_asked() -> None:
    part = kept("w8a8", torch.ones(32, 512))
    x = torch.full((4, 512), 5.0)
    y = kernels.Onednn().run(part, x)
    assert (y is None) == (not kernels._multiplies_bytes())
    assert y is None or torch.allclose(y, part.times(x))


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("name", ["int8", "w8a8"])
def test_others_have_a_number_more_below_zero(name: str) -> None:
    """-128 in files of other libraries, and scales in fp32."""
    torch.manual_seed(0)
    numbers = torch.randint(-128, 128, (32, 64), dtype=torch.int8)
    numbers[:, 0] = -128
    tensors = {"weight": numbers, "weight_scale": torch.rand(32, 1) + 0.1}
    part = STORAGES[name]().restore(tensors, None, AXES)  # type: ignore[attr-defined]
    assert torch.equal(part.dense(), numbers * tensors["weight_scale"])
    for rows in (1, 40):
        x = torch.randn(rows, 64)
        assert torch.allclose(part(x), part.read(x) @ part.dense().t(), atol=1e-3)


@pytest.mark.usefixtures("without")
def test_a_changed_weight_is_laid_out_anew() -> None:
    torch.manual_seed(0)
    one, other = (kept("int4", torch.randn(32, 64)) for _ in range(2))
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    assert not torch.equal(one(x), other(x))
    one.load_state_dict(other.state_dict())
    assert torch.equal(one(x), other(x))


def test_scales_are_numbers_of_bf16() -> None:
    """So a model in bf16 keeps the same weights."""
    part = kept("int4", torch.randn(16, 64))
    assert part.scale.dtype == torch.bfloat16


def test_smaller_groups_are_nearer() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 512)
    errors = [(kept("int4", weight, group=group).dense() - weight).norm() for group in (16, 32, 64, 128, 256, None)]
    assert errors == sorted(errors)
