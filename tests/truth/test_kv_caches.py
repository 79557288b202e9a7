"""Caches against rows of plain Python lists, and what they cost."""

from __future__ import annotations

import pytest
import torch
from stores import EXACT, store

from danlu.core.errors import ConfigError, ShapeError
from danlu.core.rng import Rng
from danlu.core.spec import Spec
from danlu.nn.caches import CACHES
from danlu.nn.caches.int8 import Int8
from danlu.nn.caches.kivi import Kivi
from danlu.nn.caches.paged import Paged
from danlu.nn.caches.slab import Slab
from danlu.nn.caches.sliding import Sliding
from danlu.nn.dims import Dims
from danlu.nn.layout import Keys

DIMS = Dims(vocab=5, model=4, heads=2, kv_heads=1, layers=2, context=64)


@pytest.mark.parametrize("name", EXACT)
def test_any_sequence_of_calls_is_what_lists_would_do(name) -> None:
    rng, cache = Rng(1, name), store(name, DIMS, 3, 200)
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


@pytest.mark.parametrize("kind", [Slab, Paged, Int8, Kivi])
def test_what_is_full_says_so(kind) -> None:
    one, at = torch.ones(1, 17, 1, 2), torch.zeros(1, 17, dtype=torch.long)
    cache = kind(Dims(vocab=5, model=8, heads=2, kv_heads=1, layers=1, context=64), 1, 16)
    with pytest.raises(ShapeError, match="a cache of 16 tokens a row cannot hold 17"):
        cache.append(0, Keys(one, one, at, at))


def fed(cache, cuts, *, rows: int = 2):
    """Feeds tokens 0, 1, … in pieces; the last answer of layer 1."""
    for start, stop in cuts:
        at = torch.arange(start, stop).expand(rows, -1)
        values = (at + 1000 * torch.arange(rows)[:, None]).float()[..., None, None].expand(rows, stop - start, 1, 2)
        for layer in range(DIMS.layers):
            found = cache.append(layer, Keys(values + layer, -values, at, torch.ones_like(at)))
    return found


@pytest.mark.parametrize("window", [1, 5, 16, 17, 40])
@pytest.mark.parametrize("cuts", [[(0, 60), (60, 61)], [(0, 3), (3, 50), (50, 61)], [(t, t + 1) for t in range(61)]])
def test_a_sliding_cache_is_the_end_of_a_list(window, cuts) -> None:
    cache = Sliding(DIMS, 2, 100, window=window)
    found = fed(cache, cuts)
    first = max(0, cuts[-1][0] - window)
    assert found.position.tolist() == [list(range(first, 61))] * 2
    assert found.k[..., 0, 0].tolist() == [[1000.0 * row + at + 1 for at in range(first, 61)] for row in range(2)]
    cache.select([1])
    found = fed(cache, [(61, 62)], rows=1)
    assert found.k[0, :-1, 0, 1].tolist() == [1000.0 + at + 1 for at in range(max(0, 61 - window), 61)]
    assert cache.bytes_ == 2 * DIMS.layers * 1 * min(100, (-(-window // 16) + 1) * 16) * 2 * 4


def test_a_sliding_cache_cannot_go_back_to_what_it_forgot() -> None:
    cache = Sliding(DIMS, 2, 100, window=8)
    fed(cache, [(0, 30)])
    with pytest.raises(ConfigError, match="the newest 8 tokens cannot go back to token 20 of 30"):
        cache.truncate(20)
    cache.truncate(0)
    assert fed(cache, [(0, 5)]).position.tolist() == [[0, 1, 2, 3, 4]] * 2
    with pytest.raises(ConfigError, match="a window has a token at least, found 0"):
        Sliding(DIMS, 2, 100, window=0)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_prompt_is_read_as_it_came_and_rounded_behind_itself(bits) -> None:
    dims = Dims(vocab=5, model=32, heads=2, kv_heads=1, layers=2, context=64)
    k, v = torch.randn(2, 2, 70, 1, 16, generator=torch.Generator().manual_seed(1))
    at = torch.arange(70).expand(2, -1)
    cache = Kivi(dims, 2, 100, bits=bits, whole=20)
    small = cache.bytes_
    for start, stop in [(0, 60), (60, 61), (61, 70)]:
        piece = Keys(k[:, start:stop], v[:, start:stop], at[:, start:stop], at[:, start:stop])
        found, _ = (cache.append(layer, piece) for layer in range(2))
        old = max(0, start - 20) // 16 * 16
        assert torch.equal(found.k[:, old:], k[:, old:stop])
        assert torch.equal(found.v[:, old:], v[:, old:stop])
        assert 0 < (found.k - k[:, :stop]).abs().max() < (4 if bits == 2 else 0.5) or not old
        assert cache.bytes_ == small or not start, "what a prompt needed beside is given back"


def test_a_cache_is_named_with_its_settings() -> None:
    dims = Dims(vocab=5, model=8, heads=2, layers=1, context=9)
    made = Spec.read({"use": "kivi", "bits": 4}).build(CACHES, dims, 1, 9)
    assert made.bits == 4
    with pytest.raises(ConfigError, match="needs the setting \\['window'\\]"):
        Spec("sliding").build(CACHES, DIMS, 1, 9)
