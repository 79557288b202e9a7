"""KIVI's grids written out number by number, who is rounded when, and what it costs beside other ways."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.nn.dims import Dims
from danlu.nn.pages import PAGES
from danlu.nn.pages.grids import packed, rounded, unpacked
from danlu.nn.pages.kivi import Kivi

DIMS = Dims(vocab=5, model=128, heads=4, kv_heads=2, head=64, layers=2, context=256)
SIZE = 8
CPU = torch.device("cpu")


def drawn(tokens: int, seed: int = 0) -> torch.Tensor:
    """(layers, tokens, K, D)."""
    return torch.randn(DIMS.layers, tokens, DIMS.kv_heads, DIMS.head, generator=torch.Generator().manual_seed(seed))


def filled(k: torch.Tensor, v: torch.Tensor, **settings: int) -> Kivi:
    """One text in blocks 0, 1, …, of which the old ones are settled."""
    pool = Kivi(DIMS, 40, SIZE, torch.float32, CPU, **settings)
    for layer in range(DIMS.layers):
        pool.write(layer, torch.arange(k.shape[1]), k[layer], v[layer])
    pool.settled(range(max(0, k.shape[1] - (pool.whole or 0)) // SIZE))
    return pool


def read(pool: Kivi, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    where = pool.find(tuple(range(-(-tokens // SIZE))), 0, tokens)
    k, v = zip(*(pool.read(layer, where) for layer in range(DIMS.layers)), strict=True)
    return torch.stack(k), torch.stack(v)


def on_grid(group: list[float], bits: int) -> list[float]:
    """Each number of a group as the nearest of 2^bits steps between the least and the most, kept in 16 bits."""
    least = float(torch.tensor(min(group)).half())
    step = float(torch.tensor((max(group) - least) / (2**bits - 1)).half())
    numbers = [min(max(round((x - least) / step), 0), 2**bits - 1) for x in group]
    return [least + number * step for number in numbers]


@pytest.mark.parametrize("bits", [2, 4])
def test_keys_by_channel_and_values_by_token(bits: int) -> None:
    k, v = drawn(20), drawn(20, 1)
    mine_k, mine_v = read(filled(k, v, bits=bits, whole=4), 20)
    for layer in range(DIMS.layers):
        for head in range(DIMS.kv_heads):
            for block in (0, 1):
                rows = slice(block * SIZE, (block + 1) * SIZE)
                for channel in range(0, DIMS.head, 7):
                    expected = on_grid(k[layer, rows, head, channel].tolist(), bits)
                    assert mine_k[layer, rows, head, channel].tolist() == pytest.approx(expected, abs=1e-5)
                for token in range(rows.start, rows.stop):
                    for group in (slice(0, 32), slice(32, 64)):
                        expected = on_grid(v[layer, token, head, group].tolist(), bits)
                        assert mine_v[layer, token, head, group].tolist() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(mine_k[:, 16:], k[:, 16:])
    assert torch.equal(mine_v[:, 16:], v[:, 16:])


def test_no_error_above_half_a_step() -> None:
    x = drawn(SIZE)
    for bits in (2, 4):
        numbers, least, step = rounded(x, 1, bits)
        assert numbers.max() == 2**bits - 1
        assert ((least + numbers * step - x).abs() <= 0.505 * step).all()


def test_flat_groups_and_extremes_stay_finite() -> None:
    x = torch.zeros(1, 4, 1, 3)
    x[..., 1], x[..., 2] = 7.0, torch.tensor([-3e38, 3e38, 1e-30, 0.0])[None, :, None]
    numbers, least, step = rounded(x, 1, 2)
    back = least.float() + numbers * step.float()
    assert back.isfinite().all()
    assert torch.equal(back[..., :2], x[..., :2])


@pytest.mark.parametrize("bits", [2, 4])
def test_bits_are_packed_and_found_again(bits: int) -> None:
    numbers = torch.randint(0, 2**bits, (3, 5, 16), dtype=torch.uint8)
    assert packed(numbers, bits).shape == (3, 5, 16 * bits // 8)
    assert torch.equal(unpacked(packed(numbers, bits), bits), numbers)


def test_channels_with_outliers_cost_what_the_paper_says() -> None:
    """Keys have channels that are large in all tokens: grids by channel see them, grids by token are spoiled."""
    k, v = drawn(64), drawn(64, 1)
    k[..., 5] += 30
    mine, _ = read(filled(k, v, bits=2, whole=0), 64)
    numbers, least, step = rounded(k.unflatten(-1, (-1, 32)), -1, 2)  # by token, as values are
    by_token = (least.float() + numbers * step.float()).flatten(-2)
    others = [channel for channel in range(32) if channel != 5]
    error, theirs = ((x - k)[..., others].square().mean().sqrt() for x in (mine, by_token))
    assert error < 0.3 * theirs


def test_a_block_that_is_written_again_goes_on_from_what_it_is() -> None:
    k, v = drawn(16), drawn(16, 1)
    pool = filled(k, v, bits=4, whole=0)
    before, _ = read(pool, 16)
    pool.write(0, torch.tensor([10]), k[0, 10:11], v[0, 10:11])
    after, _ = read(pool, 16)
    assert torch.equal(after[0, 10], k[0, 10])
    before[0, 10] = k[0, 10]
    assert torch.equal(after, before)


def test_room_for_the_newest_comes_back_and_never_grows_beyond_what_was_expected() -> None:
    pool = Kivi(DIMS, 60, SIZE, torch.float32, CPU, whole=16)
    pool.expect(2, 24)
    bytes_, (k, v) = pool.bytes_, (drawn(96), drawn(96, 1))
    for start in range(0, 96, 12):  # two texts that are fed 12 tokens each at once
        for first in (0, 30):
            for layer in range(DIMS.layers):
                places = torch.arange(start, start + 12) + first * SIZE
                pool.write(layer, places, k[layer, start : start + 12], v[layer, start : start + 12])
        for first in (0, 30):
            pool.settled(range(first, first + max(0, start + 12 - 16) // SIZE))
        assert pool.bytes_ == bytes_
    pool.dropped(range(60))
    assert not pool.fresh.place
    assert sorted(pool.fresh.spare) == list(range(pool.fresh.room))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"bits": 3}, "2 or 4 bits"), ({"whole": -1}, "0 or more whole tokens"), ({"group": 8}, "no setting")],
)
def test_settings_that_cannot_be_are_refused(settings, told) -> None:
    with pytest.raises(ConfigError, match=told):
        Spec("kivi", settings).build(PAGES, DIMS, 4, SIZE, torch.float32, CPU, where="cache")


def test_heads_that_do_not_fill_bytes_are_refused() -> None:
    odd = Dims(vocab=5, model=6, heads=2, layers=1, context=8)
    with pytest.raises(ConfigError, match="heads of 3 channels do not fill bytes at 2 bits; use cache: int8"):
        Kivi(odd, 4, SIZE, torch.float32, CPU)
