"""Every cache: what goes in comes out, in order, whatever was forgotten or chosen in between."""

from __future__ import annotations

import pytest
import torch
from stores import store

from danlu.nn.caches import CACHES, KvCache
from danlu.nn.dims import Dims
from danlu.nn.layout import Keys

DIMS = Dims(vocab=5, model=16, heads=4, kv_heads=2, layers=3, context=32)
caches = pytest.mark.parametrize("name", list(CACHES))


def keys(start: int, count: int, rows: int = 2) -> Keys:
    """Values say where they come from: row · 1000 + position."""
    at = torch.arange(start, start + count).expand(rows, count)
    values = (at + 1000 * torch.arange(rows)[:, None]).float()[..., None, None].expand(rows, count, 2, 4)
    return Keys(values, -values, at, torch.ones_like(at))


def feed(cache: KvCache, *cuts: tuple[int, int]) -> list[Keys]:
    for start, stop in cuts:
        found = [cache.append(layer, keys(start, stop - start, cache.rows)) for layer in range(DIMS.layers)]
    return found


def same(name: str, mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal, or where it is the point that keys are rounded, nearly so."""
    if CACHES[name].exact or not mine.is_floating_point():
        return torch.equal(mine, theirs)
    return mine.shape == theirs.shape and torch.allclose(mine, theirs, rtol=0.01)


@caches
def test_every_layer_gets_all_keys_in_order(name) -> None:
    cache = store(name, DIMS, 2, 9)
    assert cache.length == 0
    for found in feed(cache, (0, 4), (4, 5), (5, 9)):
        whole = keys(0, 9)
        for field in ("k", "v", "position", "segment"):
            assert same(name, getattr(found, field), getattr(whole, field)), field
    assert cache.length == 9


@caches
def test_the_length_counts_what_all_layers_have(name) -> None:
    cache = store(name, DIMS, 2, 9)
    feed(cache, (0, 4))
    cache.append(0, keys(4, 1))
    assert cache.length in (4, 5)
    cache.append(1, keys(4, 1))
    cache.append(2, keys(4, 1))
    assert cache.length == 5


@caches
def test_truncated_and_continued(name) -> None:
    cache = store(name, DIMS, 2, 9)
    feed(cache, (0, 6))
    cache.truncate(3)
    assert cache.length == 3
    found = feed(cache, (3, 5))[1]
    assert same(name, found.k, keys(0, 5).k)
    assert torch.equal(found.position, keys(0, 5).position)
    cache.truncate(0)
    assert same(name, feed(cache, (0, 2))[0].v, keys(0, 2).v)


@caches
def test_rows_are_chosen_and_doubled(name) -> None:
    cache = store(name, DIMS, 3, 9)
    feed(cache, (0, 4))
    cache.select([2, 0, 2, 1])
    assert cache.rows == 4
    found = cache.append(1, keys(4, 1, rows=4))
    assert found.k[:, 0, 0, 0].round().tolist() == [2000, 0, 2000, 1000]
    assert found.k[:, 4, 0, 0].tolist() == [4, 1004, 2004, 3004]


@caches
def test_chosen_rows_go_their_own_ways(name) -> None:
    cache = store(name, DIMS, 1, 9)
    feed(cache, (0, 3))
    cache.select([0, 0, 0])
    for clock in (3, 4, 5):
        found = [cache.append(layer, keys(clock, 1, rows=3)) for layer in range(DIMS.layers)][1]
    for row in range(3):
        whole = [0, 1, 2, *(1000 * row + at for at in (3, 4, 5))]
        assert same(name, found.k[row, :, 1, 2], torch.tensor(whole).float())


@caches
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_kept(name, dtype) -> None:
    cache = store(name, DIMS, 2, 9, dtype)
    new = keys(0, 2)
    found = cache.append(0, Keys(new.k.to(dtype), new.v.to(dtype), new.position, new.segment))
    assert found.k.dtype == dtype
