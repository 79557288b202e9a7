"""Encodings that add to scores: T5, ALiBi and FIRE against fixtures, transformers and loops over Python floats."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.layout import Keys, Layout
from danlu.nn.linear import Birth
from danlu.nn.positions.alibi import Alibi, slopes
from danlu.nn.positions.fire import Fire
from danlu.nn.positions.t5 import T5

DIMS = Dims(vocab=9, model=18, heads=3, layers=1, context=12)


def numbered(t5: T5) -> T5:
    """The table holds bucket + 1000 · head, so that a bias says which bucket it came from."""
    buckets, heads = t5.table.weight.shape
    with torch.no_grad():
        t5.table.weight.copy_(torch.arange(buckets)[:, None] + 1000 * torch.arange(heads))
    return t5


def apart(t5: T5, distances: Tensor) -> Tensor:
    """The buckets of key - query, as head 2 tells them."""
    found = t5.bias(torch.full((1, 1), 1000), 1000 + distances[None])
    assert found.shape == (1, t5.table.weight.shape[1], 1, len(distances))
    assert torch.equal(found[:, 2] - found[:, 0], torch.full_like(found[:, 0], 2000))
    return found[0, 0, 0].long()


def test_t5_buckets_of_the_shared_fixture(shared) -> None:
    reference = json.loads((shared / "theory/t5_relative_buckets.json").read_text())
    expected = reference["bidirectional 32/128"]
    t5 = numbered(T5(DIMS, buckets=32, distance=128, bidirectional=True))
    assert apart(t5, torch.arange(-300, 301)).tolist() == expected


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (64, 1000), (4, 3), (12, 100)])
def test_t5_buckets_of_transformers(bidirectional, buckets, distance) -> None:
    pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    at = torch.arange(-2000, 2001)
    expected = T5Attention._relative_position_bucket(
        at, bidirectional=bidirectional, num_buckets=buckets, max_distance=distance
    )
    t5 = numbered(T5(DIMS, buckets=buckets, distance=distance, bidirectional=bidirectional))
    assert torch.equal(apart(t5, at), expected)


def test_t5_gradients_count_how_often_a_bucket_was_used() -> None:
    t5, at = T5(DIMS, buckets=8, distance=16), torch.arange(12)[None]
    t5.bias(at, at).sum().backward()
    used = torch.bincount(apart(numbered(T5(DIMS, buckets=8, distance=16)), (at.T - at).flatten()), minlength=8)
    assert t5.table.weight.grad is not None
    assert torch.equal(t5.table.weight.grad, used[:, None].expand(8, 3).float())


@pytest.mark.parametrize("settings", [{"buckets": 1}, {"buckets": 6, "bidirectional": True}, {"distance": 16}])
def test_t5_without_room_for_buckets_is_refused(settings) -> None:
    with pytest.raises(ConfigError, match="t5 needs buckets in multiples of"):
        T5(DIMS, **settings)


def test_alibi_slopes_of_the_shared_fixture(shared) -> None:
    for heads, expected in json.loads((shared / "theory/alibi_slopes.json").read_text()).items():
        assert slopes(int(heads)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 6, 7, 8, 12, 20, 25, 112])
def test_alibi_is_blooms_but_for_what_the_softmax_drops(heads) -> None:
    pytest.importorskip("transformers")
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    at = torch.arange(9)[None]
    alibi = Alibi(Dims(vocab=9, model=2 * heads, heads=heads, layers=1, context=9))
    theirs = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).view(1, heads, 1, 9).expand(1, heads, 9, 9)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    ours = alibi.bias(at, at)
    assert ours.shape == (1, heads, 9, 9)
    for found, expected in zip(ours[0], theirs[0], strict=True):
        weights = [x.masked_fill(future, -torch.inf).softmax(-1) for x in (found, expected)]
        torch.testing.assert_close(*weights)


def test_alibi_by_hand() -> None:
    alibi = Alibi(Dims(vocab=9, model=4, heads=2, layers=1, context=9))
    found = alibi.bias(torch.tensor([[3]]), torch.tensor([[0, 2, 3, 5]]))
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([-3.0, -1.0, 0.0, -2.0]) / 16)
    torch.testing.assert_close(found[0, 1, 0], torch.tensor([-3.0, -1.0, 0.0, -2.0]) / 256)


def drawn(fire: Fire) -> Fire:
    """In double precision, with every weight different from what it began as."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in fire.parameters():
            weight.copy_(torch.rand_like(weight) - 0.3)
        fire.slope.fill_(0.4)
        fire.share.fill_(0.7)
    return fire.double()


def test_fire_is_its_formula() -> None:
    fire = drawn(Fire(DIMS, width=5, threshold=10))
    queries, keys = [0, 3, 7, 40], [0, 1, 6, 38, 40]
    found = fire.bias(torch.tensor([queries]), torch.tensor([keys]))
    assert found.shape == (1, 3, 4, 5)
    w, b = fire.wide.weight[:, 0].tolist(), fire.wide.bias.tolist()
    u, c = fire.narrow.weight.tolist(), fire.narrow.bias.tolist()
    for t, i in enumerate(queries):
        for s, j in enumerate(keys):
            x = math.log(0.4 * abs(i - j) + 1) / math.log(0.4 * max(0.7 * 10, i) + 1)
            hidden = [max(0.0, wide * x + bias) for wide, bias in zip(w, b, strict=True)]
            for h in range(3):
                expected = c[h] + sum(a * z for a, z in zip(u[h], hidden, strict=True))
                assert found[0, h, t, s].item() == pytest.approx(expected, abs=1e-5)


def test_fire_beyond_its_threshold_depends_on_the_share_of_the_way() -> None:
    """With ψ nearly linear, a distance counts relative to the query's position: that is the interpolation."""
    fire = drawn(Fire(DIMS, width=5, threshold=10))
    with torch.no_grad():
        fire.slope.fill_(1e-7)
    near, far = (fire.bias(torch.tensor([[i]]), torch.tensor([[i // 4]])) for i in (1000, 4000))
    torch.testing.assert_close(near, far, atol=5e-3, rtol=0)
    assert (fire.bias(torch.tensor([[1000]]), torch.tensor([[999]])) - near).abs().max() > 0.05


def test_fire_learns_its_threshold_and_slope() -> None:
    fire, at = drawn(Fire(DIMS, width=5, threshold=4)), torch.arange(9)[None]
    weight = torch.randn(1, 3, 9, 9, dtype=torch.double)
    (fire.bias(at, at) * weight).sum().backward()
    for parameter in (fire.slope, fire.share, fire.wide.weight, fire.narrow.bias):
        assert parameter.grad is not None
        place = (0,) * parameter.dim()
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter[place] += step
                values.append((fire.bias(at, at) * weight).sum().item())
        assert parameter.grad[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)
        with torch.no_grad():
            parameter[place] += 1e-6


def test_fire_begins_with_the_papers_constants() -> None:
    fire = Fire(DIMS)
    fire.born(Birth(0.02, 1, torch.Generator()))
    assert fire.slope.item() == pytest.approx(0.1)
    assert fire.share.item() * fire.threshold == 512


def test_fire_is_not_blunted_by_autocast_and_has_a_shape_without_memory() -> None:
    fire, at = drawn(Fire(DIMS, width=5, threshold=4)).float(), torch.arange(2000, 2009)[None]
    with torch.autocast("cpu", torch.bfloat16):
        cast = fire.bias(at, at)
    assert torch.equal(cast, fire.bias(at, at))
    with torch.device("meta"):
        assert Fire(DIMS).bias(at.to("meta"), at.to("meta")).shape == (1, 3, 9, 9)


@pytest.mark.parametrize("settings", [{"width": 0}, {"threshold": 0.5}])
def test_fire_without_a_layer_or_a_threshold_is_refused(settings) -> None:
    with pytest.raises(ConfigError, match="fire's width and threshold are at least 1"):
        Fire(DIMS, **settings)


@pytest.mark.parametrize("encoding", [T5, Alibi, Fire])
def test_a_bias_asked_tile_by_tile_is_the_whole(encoding) -> None:
    """Rows at different places, cut into tiles of queries and keys."""
    position = encoding(DIMS)
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter)
    at = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 300, 301, 302]])
    whole = position.bias(at, at)
    assert whole.shape == (2, 3, 7, 7)
    rows = [torch.cat([position.bias(at[:, a:b], at[:, c:d]) for c, d in CUTS], 3) for a, b in CUTS]
    torch.testing.assert_close(torch.cat(rows, 2), whole)
    keys = Keys(torch.empty(0), torch.empty(0), at, torch.ones_like(at))
    layout = Layout(at, torch.ones_like(at))
    assert position.bias_of(layout, keys) is position.bias_of(layout, keys)


CUTS = [(0, 3), (3, 4), (4, 7)]
