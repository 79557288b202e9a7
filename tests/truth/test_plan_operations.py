"""Arithmetic against torch's own FLOP counter, enumeration, and numbers that papers print."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe, on_meta, recipe_of
from danlu.nn.dims import Dims
from danlu.plan import Work, parameters
from danlu.plan.operations import (
    device_hours,
    operations,
    pairs,
    pf_days,
    training_flops,
    utilization,
)
from danlu.plan.roofline import row


@pytest.mark.parametrize("ffn", ["swiglu", "gelu"])
def test_forward_against_the_flop_counter(ffn: str) -> None:
    """The reference kernel computes whole squares of scores, which the counter sees as batched products."""
    dims = Dims(vocab=96, model=64, heads=4, kv_heads=2, layers=3, context=32, ffn=160)
    recipe = Recipe(dims=dims, ffn=Spec(ffn), kernels=(Spec("reference"),))
    sizes = parameters(recipe)
    model = on_meta(recipe)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 24, dtype=torch.long, device="meta"))
    done = operations(
        block_weights=3 * sizes.block_weights, head_weights=sizes.head_weights, layers=3, heads=4, head=16, length=24, causal=False
    )  # fmt: skip
    assert done.forward == counter.get_total_flops()


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_row_of_an_encoder_against_the_flop_counter(family: str) -> None:
    """Every token sees all; layers that share weights multiply each anew; the head has two products."""
    made = recipe_of(Spec(family, {"model": 64, "layers": 3, "heads": 4, "context": 32}), vocab=96)
    assert isinstance(made, Recipe)
    recipe = replace(made, kernels=(Spec("reference"),), pooler=None, classes=0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(recipe)(torch.zeros(1, 24, dtype=torch.long, device="meta"))
    widened = 2 * 24 * recipe.embed * 64  # once a model, not counted with the blocks
    assert row(Work(recipe=recipe, rows=1, length=24)).forward + widened == counter.get_total_flops()


def test_training_is_three_forwards() -> None:
    done = operations(block_weights=100, head_weights=10, layers=2, heads=2, head=4, length=8)
    assert done.training() == 3 * done.forward
    assert done.training(recompute=True) == done.training() + done.linear + done.scores
    assert done.times(5).forward == 5 * done.forward


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("past", [0, 1, 5])
@pytest.mark.parametrize("window", [None, 1, 3, 6, 40])
def test_pairs_by_enumeration(length: int, past: int, window: int | None) -> None:
    counted = sum(
        1 for query in range(past, past + length) for key in range(query + 1) if window is None or query - key < window
    )
    assert pairs(length, past=past, window=window) == counted


def test_gpt3_and_llama() -> None:
    assert training_flops(174.6e9, 300e9) == pytest.approx(3.14e23, rel=0.006)
    assert pf_days(3.14e23) == pytest.approx(3640, rel=0.003)
    assert training_flops(405_853_388_800, 15.6e12) == pytest.approx(3.8e25, rel=0.005)


def test_hours_of_bloom() -> None:
    flops = training_flops(176_247_271_424, 366e9)
    assert device_hours(flops, rate=312e12, share=0.3182) == pytest.approx(1_082_990, rel=0.001)
    assert utilization(flops, seconds=1_082_990 * 3600, rate=312e12) == pytest.approx(0.3182, abs=1e-4)


def test_a_share_that_is_none() -> None:
    with pytest.raises(ConfigError, match="share in"):
        device_hours(1, rate=1, share=1.2)
