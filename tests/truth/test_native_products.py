"""Native products: the formula in float64, the same bits for a row in any company, packed and back; also compiled for no particular processor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ShapeError
from danlu.nn import native
from danlu.nn.native import library

SHAPES = [(48, 64), (37, 96), (1, 32), (100, 70), (16, 512)]
PLAIN = tuple(flag for flag in library.FLAGS if flag != "-march=native")


@pytest.fixture(scope="module", params=["here", pytest.param("anywhere", marks=pytest.mark.slow)], autouse=True)
def kernels(request):
    """The kernels of this machine, and those that any machine of its kind can run."""
    if not native.ready():
        pytest.skip(f"no native kernels: {native.why()}")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "anywhere":
            file = library.built(PLAIN)
            plain = library.opened(file)
            patch.setattr("danlu.nn.native.products.library", lambda: plain)
        yield


def rounded(x: Tensor, size: int, steps: float) -> Tensor:
    """x by the formula: the nearest of whole numbers up to 127 times a scale, one for each ``size`` channels; float64."""
    padded = torch.nn.functional.pad(x, (0, -x.shape[1] % size)).unflatten(1, (-1, size))
    scale = padded.abs().amax(-1, keepdim=True) / steps
    numbers = (padded / scale).nan_to_num().round().clamp(-128, 127)
    return (numbers.double() * scale.double()).flatten(1)[:, : x.shape[1]]


def quantized(weight: Tensor, group: int, top: int) -> tuple[Tensor, Tensor]:
    groups = weight.unflatten(1, (-1, group))
    scale = groups.abs().amax(-1) / top
    return (groups / scale[..., None]).round().to(torch.int8).flatten(1), scale


def dense(numbers: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    groups = numbers.double().unflatten(1, (scale.shape[1], -1)) * scale[..., None].double()
    return (groups if offset is None else groups + offset[..., None].double()).flatten(1)


def equal(y: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (y.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_weights_answer_as_the_formula(shape, dtype):
    torch.manual_seed(0)
    weight, x, bias = torch.randn(shape).to(dtype), torch.randn(7, shape[1]), torch.randn(shape[0])
    y = native.product(native.dense(weight), x, bias)
    equal(y, x.double() @ weight.double().T + bias, 1e-6)


@pytest.mark.parametrize(
    ("out", "inp", "group"), [(37, 96, 96), (100, 70, 70), (48, 128, 32), (5, 128, 64), (17, 256, 128)]
)
@pytest.mark.parametrize("reading", ["exact", "blocks", "token"])
def test_eight_bits_answer_as_the_formula(out, inp, group, reading):
    torch.manual_seed(1)
    numbers, scale = quantized(torch.randn(out, inp), group, 127)
    x = torch.randn(6, inp)
    read = {"exact": x.double(), "blocks": rounded(x, 32, 127), "token": rounded(x, inp, 127.5)}[reading]
    y = native.product(native.int8(numbers, scale, reading=reading), x)
    equal(y, read @ dense(numbers, scale).T, 2e-6)


@pytest.mark.parametrize(("out", "inp", "group"), [(37, 96, 96), (48, 128, 32), (5, 128, 64), (17, 256, 128)])
@pytest.mark.parametrize("reading", ["exact", "blocks"])
@pytest.mark.parametrize("shifted", [False, True])
def test_four_bits_answer_as_the_formula(out, inp, group, reading, shifted):
    torch.manual_seed(2)
    numbers, scale = quantized(torch.randn(out, inp), group, 7)
    numbers[0, 0] = -8
    offset = torch.randn(scale.shape) if shifted else None
    x = torch.randn(6, inp)
    read = x.double() if reading == "exact" else rounded(x, 32, 127)
    y = native.product(native.int4(numbers, scale, offset, reading=reading), x)
    equal(y, read @ dense(numbers, scale, offset).T, 3e-6)


def test_a_product_by_hand():
    numbers = torch.zeros(2, 32, dtype=torch.int8)
    numbers[0, 0], numbers[0, 5], numbers[1, 31] = 3, -8, 7
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 5], x[0, 31] = 127.0, 2.0, -50.0  # a scale of 1: nothing is rounded
    scale = torch.tensor([[0.5], [2.0]])
    expected = torch.tensor([[(3 * 127 - 8 * 2) * 0.5, 7 * -50 * 2.0]])
    for reading in ("exact", "blocks"):
        assert torch.equal(native.product(native.int4(numbers, scale, reading=reading), x), expected)
        assert torch.equal(native.product(native.int8(numbers, scale, reading=reading), x), expected)


def test_the_largest_numbers_do_not_overflow():
    for sign in (1, -1):
        numbers = torch.full((16, 64), 127, dtype=torch.int8)
        x = torch.full((1, 64), 127.5 * sign)
        for reading in ("blocks", "token"):
            y = native.product(native.int8(numbers, torch.ones(16), reading=reading), x)
            equal(y, torch.full((1, 16), 127 * 127.5 * 64 * sign).double(), 0.005)
        four = native.int4(torch.full((16, 64), -8, dtype=torch.int8), torch.ones(16, 2), reading="blocks")
        equal(native.product(four, x), torch.full((1, 16), -8 * 127.5 * 64 * sign).double(), 1e-6)


def matrices() -> dict[str, native.Matrix]:
    torch.manual_seed(3)
    weight = torch.randn(53, 192)
    eight, four = native.int8(*quantized(weight, 64, 127)), native.int4(*quantized(weight, 32, 7))
    full = {"fp32": native.dense(weight), "bf16": native.dense(weight.bfloat16())}
    return full | {
        f"{kind} {reading}": replace(matrix, reading=reading)
        for kind, matrix in {"int8": eight, "int4": four}.items()
        for reading in ("exact", "blocks", "token")
    }


@pytest.mark.parametrize("kind", list(matrices()))
def test_a_row_is_the_same_bits_in_any_company_and_with_any_threads(kind):
    matrix, x = matrices()[kind], torch.randn(13, 192)
    together = native.product(matrix, x)
    for rows in (1, 2, 3, 5, 8):
        parts = torch.cat([native.product(matrix, part) for part in x.split(rows)])
        assert torch.equal(parts, together)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(native.product(matrix, x), together)
    finally:
        torch.set_num_threads(threads)


def test_answers_come_in_the_dtype_and_shape_of_what_is_asked():
    matrix = native.dense(torch.randn(5, 64).bfloat16())
    x = torch.randn(2, 3, 64).bfloat16()
    y = native.product(matrix, x)
    assert y.shape == (2, 3, 5)
    assert y.dtype == torch.bfloat16
    assert native.product(matrix, x[:0]).shape == (0, 3, 5)
    equal(y.flatten(0, 1), x.flatten(0, 1).double() @ matrix.data.double().T, 2**-8)


@pytest.mark.parametrize("group", [32, 64, 192])
def test_what_was_packed_comes_back(group):
    torch.manual_seed(4)
    weight = torch.randn(41, 192)
    for make, top in ((native.int8, 127), (native.int4, 7)):
        numbers, scale = quantized(weight, group, top)
        for kept in (scale, scale.half().float()):
            there, scales, offsets = native.unpacked(make(numbers, kept))
            assert torch.equal(there, numbers)
            assert torch.equal(scales, kept)
            assert offsets is None
    offset = torch.randn_like(scale)
    assert torch.equal(native.unpacked(native.int4(numbers, scale, offset))[2], offset)


def test_what_kernels_cannot_read_is_refused():
    with pytest.raises(ShapeError, match="multiples of 32"):
        native.int4(torch.zeros(2, 48, dtype=torch.int8), torch.ones(2, 3))
    with pytest.raises(ShapeError, match="-128"):
        native.int8(torch.full((2, 32), -128, dtype=torch.int8), torch.ones(2))
    with pytest.raises(ShapeError, match="fp32 and bf16"):
        native.dense(torch.zeros(4, 4, dtype=torch.float64))
    with pytest.raises(ShapeError, match="in rows"):
        native.dense(torch.zeros(4, 8).t())
