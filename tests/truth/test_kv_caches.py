"""Caches against rows of plain Python lists, and what they cost."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ShapeError
from danlu.core.rng import Rng
from danlu.nn.caches import CACHES
from danlu.nn.caches.slab import Slab
from danlu.nn.dims import Dims
from danlu.nn.layout import Keys

DIMS = Dims(vocab=5, model=4, heads=2, kv_heads=1, layers=2, context=64)


@pytest.mark.parametrize("name", list(CACHES))
def test_any_sequence_of_calls_is_what_lists_would_do(name) -> None:
    rng, cache = Rng(1, name), CACHES[name](DIMS, 3, 200)
    rows: list[list[int]] = [[], [], []]
    clock = 0
    for _ in range(60):
        action = rng.below(4)
        if action == 0 and rows[0]:
            keep = rng.below(len(rows[0]) + 1)
            rows = [row[:keep] for row in rows]
            cache.truncate(keep)
        elif action == 1 and rows[0]:
            chosen = [rng.below(len(rows)) for _ in range(3)]
            rows = [list(rows[i]) for i in chosen]
            cache.select(chosen)
        else:
            count = 1 + rng.below(3)
            new = [[clock + 10 * i + j for j in range(count)] for i in range(3)]
            clock += 100
            rows = [row + more for row, more in zip(rows, new, strict=True)]
            values = torch.tensor(new)
            for layer in range(DIMS.layers):
                k = (values + layer).float()[..., None, None].expand(3, count, 1, 2)
                found = cache.append(layer, Keys(k, -k, values, values % 7))
            assert found.k[..., 0, 0].tolist() == [[value + 1.0 for value in row] for row in rows]
            assert found.v[..., 0, 1].tolist() == [[-value - 1.0 for value in row] for row in rows]
            assert found.position.tolist() == rows
            assert found.segment.tolist() == [[value % 7 for value in row] for row in rows]
            assert cache.length == len(rows[0])


def test_a_slab_allocates_nothing_and_answers_views() -> None:
    cache = Slab(DIMS, 2, 8)
    memory = cache.k.data_ptr(), cache.v.data_ptr()
    one = torch.ones(2, 1, 1, 2)
    place = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(8):
        for layer in range(DIMS.layers):
            found = cache.append(layer, Keys(one, one, place, place))
            assert found.k.untyped_storage().data_ptr() == memory[0]
            assert found.v.untyped_storage().data_ptr() == memory[1]


def test_the_bytes_of_a_slab_are_its_formula() -> None:
    dims = Dims(vocab=5, model=64, heads=8, kv_heads=2, layers=3, context=64)
    cache = Slab(dims, 5, 11, dtype=torch.bfloat16)
    assert cache.k.nbytes + cache.v.nbytes == 2 * 3 * 5 * 11 * 2 * 8 * 2


def test_a_full_slab_says_so() -> None:
    cache = Slab(DIMS, 1, 2)
    with pytest.raises(ShapeError, match="a cache of 2 tokens a row cannot hold 3"):
        cache.append(0, Keys(torch.ones(1, 3, 1, 2), torch.ones(1, 3, 1, 2), torch.zeros(1, 3), torch.zeros(1, 3)))
