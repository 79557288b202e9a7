"""Encodings of two positions a token: learned tables and waves over a plane."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.core.errors import ConfigError, ShapeError
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.linear import Birth
from danlu.nn.positions.learned2d import Learned2d
from danlu.nn.positions.sinusoidal2d import Sinusoidal2d

DIMS = Dims(vocab=9, model=16, heads=2, layers=1, context=12)


def at(positions: list[int], inner: list[int] | None, plain: bool = False) -> Layout:
    position = torch.tensor([positions])
    second = None if inner is None else torch.tensor([inner])
    return Layout(position, torch.ones_like(position), inner=second, plain=plain)


def table() -> Learned2d:
    learned = Learned2d(DIMS, inner=5)
    for part in (learned.outer, learned.inner):
        part.born(Birth(1.0, 1, torch.Generator().manual_seed(part.num_embeddings)))
    return learned


def test_rows_of_both_tables_are_added() -> None:
    """GLM: a text with two gaps, then the spans that fill them, each at the place of its gap and counted within."""
    learned = table()
    positions, inner = [0, 1, 2, 3, 4, 2, 2, 2, 4, 4], [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]
    found = learned.embed(torch.ones(1, 10, 16), at(positions, inner))
    expected = torch.stack(
        [learned.outer.weight[p] + learned.inner.weight[i] for p, i in zip(positions, inner, strict=True)]
    )
    torch.testing.assert_close(found[0], expected + 1)


@pytest.mark.parametrize("plain", [True, False])
def test_a_layout_without_second_positions_has_zeros(plain) -> None:
    learned = table()
    found, same = (learned.embed(torch.ones(1, 3, 16), at([0, 1, 2], inner, plain)) for inner in (None, [0, 0, 0]))
    assert torch.equal(found, same)


@pytest.mark.parametrize(
    ("positions", "inner", "says"),
    [([12], [0], "position 12 lies beyond .* table of 12"), ([0], [5], "second position 5 lies beyond .* table of 5")],
)
def test_beyond_a_table_is_a_clear_error(positions, inner, says) -> None:
    with pytest.raises(ShapeError, match=says):
        table().embed(torch.ones(1, 1, 16), at(positions, inner))


def test_waves_over_a_plane_are_their_formula() -> None:
    found = Sinusoidal2d(DIMS).embed(torch.zeros(1, 3, 16), at([0, 7, 3], [5, 1, 0]))
    for t, places in enumerate([(0, 5), (7, 1), (3, 0)]):
        for half, place in enumerate(places):
            for i in range(4):
                angle = place / 10_000 ** (4 * i / 16)
                assert found[0, t, 8 * half + 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert found[0, t, 8 * half + 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_shift_in_the_plane_is_a_rotation() -> None:
    """The inner product of two places depends on how far they are apart in rows and in columns, and on nothing else."""
    encoding, zero = Sinusoidal2d(DIMS), torch.zeros(1, 1, 16)

    def product(a: tuple[int, int], b: tuple[int, int]) -> float:
        first, second = (encoding.embed(zero, at([row], [column])) for row, column in (a, b))
        return (first * second).sum().item()

    assert product((3, 8), (5, 1)) == pytest.approx(product((13, 28), (15, 21)), abs=1e-4)
    assert abs(product((3, 8), (5, 1)) - product((3, 8), (1, 5))) > 0.1


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 4, found model = 18"):
        Sinusoidal2d(Dims(vocab=9, model=18, heads=2, layers=1, context=12))
    with pytest.raises(ConfigError, match="at least 1 second position, found inner = 0"):
        Learned2d(DIMS, inner=0)
