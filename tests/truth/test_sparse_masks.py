"""Masks of sparse attention against the sets of connections that papers define, and tables written out by hand."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.block import Block
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.hub import Hub
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.strided import Strided
from danlu.nn.masks.summary import Summary
from danlu.nn.masks.window import Window

TABLES: list[tuple[Mask, str]] = [
    (Strided(stride=2), "10101 01010 10101 01010 10101"),
    (Strided(stride=3), "10010 01001 00100 10010 01001"),
    (Strided(stride=1), "11111 11111 11111 11111 11111"),
    (Causal() & (Window(size=2) | Strided(stride=3)), "10000 11000 01100 10110 01011"),
    (Block(size=2), "11000 11000 00110 00110 00001"),
    (Block(size=2, near=1), "11110 11110 11111 11111 00111"),
    (Causal() & Block(size=3), "10000 11000 11100 00010 00011"),
    (Summary(size=2), "01010 01010 01010 01010 01010"),
    (Summary(size=3, last=2), "01101 01101 01101 01101 01101"),
    (Summary(size=1), "11111 11111 11111 11111 11111"),
    (Causal() & (Block(size=2) | Summary(size=2)), "10000 11000 01100 01110 01011"),
    (Hub(length=1), "11111 10000 10000 10000 10000"),
    (Hub(length=2) | Window(size=1), "11111 11111 11100 11010 11001"),
    (Causal() & Hub(length=1) | Block(size=2), "11000 11000 10110 10110 10001"),
]
PARTS = [Strided(stride=1), Strided(stride=4), Block(size=3), Block(size=2, near=2), Summary(size=4), Hub(length=3)]
COMBINED = [*PARTS, Window(size=3), Causal(), Prefix(length=2), Full()]


def table(mask: Mask, length: int, start: int = 0) -> str:
    at = torch.arange(start, start + length)[None]
    allowed = mask.allows(at[:, :, None], at[:, None])
    assert allowed.shape == (1, length, length)
    assert allowed.dtype == torch.bool
    return " ".join("".join(map(str, row)) for row in allowed[0].int().tolist())


@pytest.mark.parametrize(("mask", "expected"), TABLES, ids=lambda value: str(value))
def test_who_sees_whom(mask, expected) -> None:
    assert table(mask, 5) == expected


@pytest.mark.parametrize("length", range(1, 10))
@pytest.mark.parametrize("start", [0, 1, 5])
def test_the_simpler_mask_within_a_length_is_equal_wherever_the_row_begins(length, start) -> None:
    for mask in [*COMBINED, *(a & b for a in COMBINED for b in COMBINED), *(a | b for a in COMBINED for b in COMBINED)]:
        assert table(mask.within(length), length, start) == table(mask, length, start), mask


def test_masks_that_short_rows_make_simple() -> None:
    assert Strided(stride=1).within(99) == Full()
    assert Strided(stride=4).within(4) == Window(size=1)
    assert Strided(stride=4).within(5) == Strided(stride=4)
    assert (Causal() & (Window(size=4) | Strided(stride=4))).within(4) == Causal()
    assert Block(size=3).within(2) == Block(size=3)  # two tokens side by side may lie in two blocks
    assert Block(size=3, near=1).within(4) == Full()
    assert Block(size=3, near=1).within(5) == Block(size=3, near=1)
    assert Summary(size=3, last=3).within(99) == Full()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_strided_attention_is_the_papers_sets(size) -> None:
    """A1 = {max(0, i - l), …, i}, A2 = {j: (i - j) mod l = 0} (Child et al. 2019, §4.3)."""
    for i in range(16):
        first = set(range(max(0, i - size + 1), i + 1))
        second = {j for j in range(i + 1) if (i - j) % size == 0}
        assert seen(Causal() & Window(size=size), i) == first
        assert seen(Causal() & Strided(stride=size), i) == second
        assert seen(Causal() & (Window(size=size) | Strided(stride=size)), i) == first | second


@pytest.mark.parametrize(("size", "last"), [(2, 1), (4, 1), (4, 2), (4, 4)])
def test_fixed_attention_is_the_papers_sets(size, last) -> None:
    """A1 = {j: ⌊j / l⌋ = ⌊i / l⌋}, A2 = {j: j mod l ∈ {t, …, l - 1}}, t = l - c (Child et al. 2019, §4.3)."""
    for i in range(16):
        first = {j for j in range(i + 1) if j // size == i // size}
        second = {j for j in range(i + 1) if j % size in range(size - last, size)}
        assert seen(Causal() & Block(size=size), i) == first
        assert seen(Causal() & Summary(size=size, last=last), i) == second


@pytest.mark.parametrize(
    "mask",
    [Causal() & (Window(size=4) | Strided(stride=4)), Causal() & (Block(size=4) | Summary(size=4))],
    ids=["strided", "fixed"],
)
def test_two_steps_reach_the_whole_past(mask) -> None:
    """What the paper asks of a factorization: every earlier token lies on a path of at most two steps."""
    once = torch.tensor([[int(j in seen(mask, i)) for j in range(16)] for i in range(16)])
    assert once.sum() < torch.ones(16, 16).tril().sum() * 0.8
    assert torch.equal(once @ once > 0, torch.ones(16, 16, dtype=torch.bool).tril())


def seen(mask: Mask, query: int) -> set[int]:
    allowed = mask.allows(torch.tensor([[[query]]]), torch.arange(16)[None, None])
    return set(allowed[0, 0].nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Strided(stride=0), "at least 1 token, found 0"),
        (lambda: Block(size=0), "found size = 0, near = 0"),
        (lambda: Block(size=2, near=-1), "found size = 2, near = -1"),
        (lambda: Summary(size=2, last=3), "found last = 3, size = 2"),
        (lambda: Hub(length=0), "at least 1 token, found length = 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make, says) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
