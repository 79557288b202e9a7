"""Loss scales: step by step against torch's GradScaler, and Megatron's hysteresis worked by hand."""

from __future__ import annotations

import itertools

import pytest
import torch

from danlu.core.errors import ConfigError, DanluError
from danlu.core.rng import Rng
from danlu.train.precisions.scales.dynamic import Dynamic
from danlu.train.precisions.scales.static import Static


def torchs(trace: list[bool], *, initial: float, interval: int) -> list[float]:
    """The scale torch uses after each step; ``trace`` says which steps overflow."""
    scaler = torch.amp.GradScaler("cpu", init_scale=initial, growth_interval=interval)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.0)
    found = []
    for overflows in trace:
        scaler.scale((weight * (float("inf") if overflows else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        found.append(scaler.get_scale())
    return found


def ours(scale: Dynamic | Static, trace: list[bool]) -> list[float]:
    return [(scale.update(overflows), scale.value)[1] for overflows in trace]


@pytest.mark.parametrize("seed", range(4))
def test_torch_agrees_step_by_step(seed: int) -> None:
    rng = Rng(seed)
    trace = [rng.below(6) == 0 for _ in range(120)]
    assert ours(Dynamic(initial=2.0**20, interval=3), trace) == torchs(trace, initial=2.0**20, interval=3)


def test_defaults_are_torchs() -> None:
    scaler, scale = torch.amp.GradScaler("cpu"), Dynamic()
    assert scale.value == 65536.0 == scaler._init_scale
    assert (scale.growth, scale.backoff, scale.interval) == (
        scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()
    )  # fmt: skip


@pytest.mark.parametrize(("like", "initial"), [("megatron", 2.0**32), ("deepspeed", 2.0**16)])
def test_defaults_of_others(like: str, initial: float) -> None:
    """Two overflows for the first fall, 1000 clean steps for a rise, never below 1; what is given holds instead."""
    scale = Dynamic(like=like)
    assert ours(scale, [True, True, *[False] * 1000])[:2] == [initial, initial / 2]
    assert scale.value == initial
    scale = Dynamic(like=like, initial=2, hysteresis=1)
    assert ours(scale, [True]) == [1]
    with pytest.raises(DanluError, match="lowest loss scale"):
        scale.update(True)
    with pytest.raises(ConfigError, match="no set of defaults named 'apex'"):
        Dynamic(like="apex")


def test_megatrons_hysteresis_by_hand() -> None:
    """Two overflows are needed for the first fall, then each falls, until a full clean interval forgives again."""
    scale = Dynamic(initial=64, interval=2, hysteresis=2, minimum=1)
    trace = [True, True, True, False, False, True, False, True, False, True]
    #        kept  fall  fall  streak grow  kept  streak fall ...
    assert ours(scale, trace) == [64, 32, 16, 16, 32, 32, 32, 16, 16, 8]


def test_megatron_against_its_rule_written_anew() -> None:
    """An independent transcription of DynamicGradScaler's paragraph, over every trace of 9 steps."""
    for trace in itertools.product([False, True], repeat=9):
        value, growth, hysteresis, expected = 1024.0, 0, 2, []
        for overflow in trace:
            if overflow:
                growth, hysteresis = 0, hysteresis - 1
                value = max(value / 2, 1.0) if hysteresis <= 0 else value
            else:
                growth += 1
                if growth == 3:
                    growth, hysteresis, value = 0, 2, value * 2
            expected.append(value)
        assert ours(Dynamic(initial=1024, interval=3, hysteresis=2, minimum=1), list(trace)) == expected


def test_at_its_minimum_it_stops_with_a_sentence() -> None:
    scale = Dynamic(initial=4, minimum=1)
    ours(scale, [True, True])
    assert scale.value == 1
    with pytest.raises(DanluError, match=r"lowest loss scale \(1\); train in bf16"):
        scale.update(True)


def test_static_stays_and_loses_patience() -> None:
    scale = Static(value=128, patience=3)
    assert ours(scale, [True, True, False, True, True]) == [128] * 5
    with pytest.raises(DanluError, match="lowest loss scale"):
        scale.update(True)


@pytest.mark.parametrize("cut", range(0, 12, 3))
def test_state_restores_the_trace(cut: int) -> None:
    trace = [False, False, True, False, False, False, True, True, False, False, False, True]
    whole = ours(Dynamic(initial=256, interval=3, hysteresis=2), trace)
    first, second = (
        Dynamic(initial=256, interval=3, hysteresis=2),
        Dynamic(initial=1, interval=3, hysteresis=2, minimum=1),
    )
    head = ours(first, trace[:cut])
    second.restore(first.state())
    assert head + ours(second, trace[cut:]) == whole


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dynamic(growth=1),
        lambda: Dynamic(backoff=1),
        lambda: Dynamic(interval=0),
        lambda: Dynamic(minimum=1e9),
        lambda: Static(value=0),
    ],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="loss scale"):
        make()  # type: ignore[operator]
