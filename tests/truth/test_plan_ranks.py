"""A rank's share of a step against ZeRO's own formula; money and exchange by hand."""

from __future__ import annotations

import pytest

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe
from danlu.nn.dims import Dims
from danlu.plan import Memory, Work, parameters
from danlu.plan.cost import Bill, hours_a_trillion
from danlu.plan.exchange import pipeline_bubble, ring_bytes, zero_volume
from danlu.plan.published import zero_bytes
from danlu.plan.ranks import BUCKET, Ranks

RECIPE = Recipe(dims=Dims(vocab=1000, model=64, heads=4, layers=2, context=32))
N = parameters(RECIPE).total
STATES = {"weights": 4 * N, "gradients": 4 * N, "optimizer": 8 * N, "activations: ffn": 777}
WORK = Work(recipe=RECIPE, rows=1, length=32)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [2, 8, 64])
def test_a_share_is_what_zero_says(stage: int, count: int) -> None:
    shared = Ranks(count, stage).share(Memory({"step": STATES}), WORK).phases["step"]
    expected = zero_bytes(N, count, stage, 8, weights=4, gradients=4)
    assert sum(shared.values()) - shared["activations: ffn"] == pytest.approx(expected, abs=4)
    assert shared["activations: ffn"] == 777, "each rank has micro-batches of its own"


def test_what_moves_beside_the_shares() -> None:
    memory = Memory({"loss": STATES, "backward": STATES, "step": STATES})
    buckets = Ranks(4, 2).share(memory, WORK)
    assert buckets.phases["backward"]["buckets"] == 2 * BUCKET
    gathered = Ranks(4, 3).share(memory, WORK)
    sizes = parameters(RECIPE)
    assert gathered.phases["loss"]["gathered weights"] == 4 * (2 * sizes.block + 1000 * 64)
    assert "gathered weights" not in gathered.phases["step"]
    half = Work(recipe=RECIPE, rows=1, length=32, precision=Spec("bf16"))
    assert Ranks(4, 3).share(memory, half).phases["loss"]["gathered weights"] == 2 * (2 * sizes.block + 64_000)


def test_one_rank_shares_nothing() -> None:
    memory = Memory({"step": STATES})
    assert Ranks().share(memory, WORK) is memory
    for wrong, sentence in (((0, 0), "at least 1"), ((2, 4), "stages 0, 1, 2 and 3"), ((1, 3), "--ranks 2 or more")):
        with pytest.raises(ConfigError, match=sentence):
            Ranks(*wrong)


def test_deepseek_v3_cost_five_and_a_half_million() -> None:
    """Table 1 of its report: 2.788 million H800 hours at $2; 180 thousand hours are 3.7 days on 2,048."""
    assert Bill(device_hours=2.788e6, devices=2048, price=2).money == pytest.approx(5.576e6)
    assert Bill(device_hours=180e3, devices=2048).days == pytest.approx(3.66, abs=0.01)
    assert hours_a_trillion(2.664e6, 14.8e12) == pytest.approx(180e3)
    for wrong in ({"devices": 0}, {"price": -1}):
        with pytest.raises(ConfigError, match="at least one device"):
            Bill(device_hours=1, **wrong)


def test_exchange() -> None:
    """A ring of 4 passes 3 quarters twice; ZeRO 3 gathers weights forward and back and scatters gradients."""
    assert ring_bytes(100, 4) == 150
    assert ring_bytes(100, 4, "all_gather") + ring_bytes(100, 4, "reduce_scatter") == 150
    assert [zero_volume(stage) for stage in range(4)] == [1, 1, 1, 1.5]
    assert pipeline_bubble(stages=4, micros=8, virtual=2) == 3 / 16
    for call in (
        lambda: ring_bytes(1, 0),
        lambda: ring_bytes(1, 2, "shout"),
        lambda: zero_volume(4),
        lambda: pipeline_bubble(stages=0, micros=1),
    ):
        with pytest.raises(ConfigError):
            call()
