"""Blocks of keys and values against plain lists of tokens, whatever is kept and however it is rounded."""

from __future__ import annotations

import pytest
import torch

from danlu.core.rng import Rng
from danlu.nn.dims import Dims
from danlu.nn.pages import PAGES, Pages
from danlu.nn.pages.int8 import Int8

DIMS = Dims(vocab=5, model=32, heads=4, kv_heads=2, layers=3, context=64)
SIZE = 4
pages = pytest.mark.parametrize("name", list(PAGES))


def made(name: str, blocks: int = 12, dtype: torch.dtype = torch.float32) -> Pages:
    return PAGES[name](DIMS, blocks, SIZE, dtype)


def numbers(tokens: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """(layers, tokens, K, D) twice."""
    shape = (2, DIMS.layers, tokens, DIMS.kv_heads, DIMS.head)
    k, v = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return k, v


def write(pool: Pages, table: tuple[int, ...], start: int, k: torch.Tensor, v: torch.Tensor) -> None:
    places = torch.tensor([table[at // SIZE] * SIZE + at % SIZE for at in range(start, start + k.shape[1])])
    for layer in range(DIMS.layers):
        pool.write(layer, places, k[layer], v[layer])


def read(pool: Pages, table: tuple[int, ...], start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    where = pool.find(table, start, stop)
    k, v = zip(*(pool.read(layer, where) for layer in range(DIMS.layers)), strict=True)
    return torch.stack(k), torch.stack(v)


def near(found: tuple[torch.Tensor, ...], given: tuple[torch.Tensor, ...], share: float) -> None:
    """No number is further away than a share of the largest."""
    for mine, theirs in zip(found, given, strict=True):
        assert mine.shape == theirs.shape
        assert (mine - theirs).abs().max() <= share * theirs.abs().max()


@pages
@pytest.mark.parametrize("table", [(3, 4, 5), (7, 2, 5), (0, 11, 1)], ids=str)
def test_what_goes_in_comes_out_wherever_it_lies(name, table) -> None:
    pool, (k, v) = made(name), numbers(11)
    write(pool, table, 0, k[:, :6], v[:, :6])
    write(pool, table, 6, k[:, 6:], v[:, 6:])
    for start, stop in [(0, 11), (0, 6), (4, 11), (5, 9), (10, 11)]:
        near(read(pool, table, start, stop), (k[:, start:stop], v[:, start:stop]), 0.005)


@pages
def test_blocks_are_copied_and_brought_from_another_pool(name) -> None:
    pool, other, (k, v) = made(name), made(name), numbers(8)
    write(pool, (2, 9), 0, k, v)
    pool.settled([2])
    found = read(pool, (2, 9), 0, 8)
    pool.copy([(2, 5), (9, 1), (5, 6)])
    other.bring(pool, [(6, 0), (1, 3)])
    write(pool, (2, 9), 0, -k, -v)
    near(read(pool, (6, 1), 0, 8), found, 0)
    near(read(other, (0, 3), 0, 8), found, 0)


@pages
def test_a_block_that_begins_anew_knows_nothing_of_what_it_held(name) -> None:
    pool, (k, v) = made(name), numbers(8)
    write(pool, (2, 3), 0, 100 * k, 100 * v)
    pool.settled([2, 3])
    pool.dropped([2, 3])
    write(pool, (3, 2), 0, k, v)
    near(read(pool, (3, 2), 0, 8), (k, v), 0.005)


@pages
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_kept(name, dtype) -> None:
    pool, (k, v) = made(name, dtype=dtype), numbers(5, dtype=dtype)
    write(pool, (4, 1), 0, k, v)
    pool.settled([4])
    assert {x.dtype for x in read(pool, (4, 1), 0, 5)} == {dtype}


@pages
def test_texts_side_by_side_against_lists(name) -> None:
    """Texts grow, end, and go on in other blocks; nothing that is settled is older than the newest are promised."""
    rng, pool = Rng(4, name), made(name, blocks=20)
    texts: list[tuple[list[int], list[torch.Tensor]]] = []
    free = list(range(20))
    for clock in range(150):
        if rng.below(5) == 0 and texts:
            table, _ = texts.pop(rng.below(len(texts)))
            pool.dropped(table)
            free += table
            continue
        if len(texts) < 3 and (rng.below(3) == 0 or not texts):
            texts.append(([], []))
        table, said = texts[rng.below(len(texts))]
        k, v = numbers(1 + rng.below(3), clock)
        start = sum(one.shape[2] for one in said)
        need = -(-(start + k.shape[1]) // SIZE) - len(table)
        if need > len(free):
            continue
        table += [free.pop(rng.below(len(free))) for _ in range(need)]
        write(pool, tuple(table), start, k, v)
        said.append(torch.stack([k, v]))
        whole = torch.cat(said, 2)
        near(read(pool, tuple(table), 0, whole.shape[2]), tuple(whole), 0.005 if pool.whole is None else 0.2)
        if pool.whole is not None:
            old = max(0, whole.shape[2] - pool.whole) // SIZE
            pool.settled(table[:old])
            first = old * SIZE
            near(read(pool, tuple(table), first, whole.shape[2]), tuple(whole[:, :, first:]), 0)


def test_int8_is_the_formula() -> None:
    pool, (k, v) = Int8(DIMS, 3, SIZE), numbers(4)
    k[1, 2, 0] = 0.0  # a vector of zeros stays one
    write(pool, (1,), 0, k, v)
    for mine, theirs in zip(read(pool, (1,), 0, 4), (k, v), strict=True):
        for place in range(4):
            for head in range(DIMS.kv_heads):
                vector = theirs[1, place, head].double()
                scale = vector.abs().max() / 127
                expected = (vector / scale).round() * scale if scale else vector
                assert (mine[1, place, head] - expected).abs().max() < 1e-6
                assert (mine[1, place, head] - vector).abs().max() <= scale / 2 * 1.0001


def test_an_outlier_in_one_head_costs_the_others_nothing() -> None:
    pool, (k, v) = Int8(DIMS, 3, SIZE), numbers(4)
    k[:, :, 0] *= 1000
    write(pool, (0,), 0, k, v)
    found, _ = read(pool, (0,), 0, 4)
    near((found[:, :, 1],), (k[:, :, 1],), 0.005)
