"""Schedules against transformers' own and against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.train.schedules import Schedule
from danlu.train.schedules.constant import Constant
from danlu.train.schedules.cosine import Cosine
from danlu.train.schedules.inverse_sqrt import InverseSqrt
from danlu.train.schedules.linear import Linear
from danlu.train.schedules.wsd import WarmupStableDecay

transformers = pytest.importorskip(
    "transformers", reason="its schedules are the reference; it comes with the extra test"
)


def theirs(make: str, *arguments: int, steps: int = 100) -> list[float]:
    """The factor that transformers uses after each step; its step i is our step i."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = getattr(transformers, make)(optimizer, *arguments)
    found = []
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(
    ("ours", "name", "arguments"),
    [
        (Cosine(100, warmup=10, floor=0.0), "get_cosine_schedule_with_warmup", (10, 100)),
        (Linear(100, warmup=10, floor=0.0), "get_linear_schedule_with_warmup", (10, 100)),
        (Constant(100, warmup=10), "get_constant_schedule_with_warmup", (10,)),
        (InverseSqrt(100, warmup=10), "get_inverse_sqrt_schedule", (10,)),
    ],
)
def test_transformers_agrees(ours: Schedule, name: str, arguments: tuple[int, ...]) -> None:
    assert [ours.factor(step) for step in range(1, 101)] == pytest.approx(theirs(name, *arguments), abs=1e-9)


def test_cosine_by_hand() -> None:
    """nanoGPT's CPU run: 1e-3 → 1e-4 over 2,000 steps with 100 of warm-up."""
    schedule = Cosine(2000, warmup=100, floor=0.1)
    assert schedule.factor(1) == pytest.approx(0.01)
    assert schedule.factor(100) == 1.0
    assert schedule.factor(1050) == pytest.approx(0.55)  # half-way down
    assert schedule.factor(2000) == pytest.approx(0.1)


def test_linear_by_hand() -> None:
    schedule = Linear(20, warmup=0.25, floor=0.2)
    assert [schedule.factor(step) for step in (1, 5, 10, 20)] == pytest.approx([0.2, 1.0, 0.8 * (2 / 3) + 0.2, 0.2])


def test_wsd_by_hand() -> None:
    schedule = WarmupStableDecay(100, warmup=10, decay=0.2, floor=0.01)
    assert [schedule.factor(step) for step in (5, 10, 80, 90, 100)] == pytest.approx([0.5, 1, 1, 0.1, 0.01])


def test_inverse_sqrt_is_the_papers_formula() -> None:
    """lrate = d^-0.5 · min(step^-0.5, step · warmup^-1.5), divided by its value at warm-up."""
    schedule = InverseSqrt(100_000, warmup=4000)
    paper = lambda step: min(step**-0.5, step * 4000**-1.5) / 4000**-0.5  # noqa: E731
    for step in (1, 400, 4000, 4001, 16_000, 100_000):
        assert schedule.factor(step) == pytest.approx(paper(step))
    assert schedule.factor(16_000) == pytest.approx(0.5)


def test_constant_stays() -> None:
    assert {Constant(50).factor(step) for step in range(1, 51)} == {1.0}


def test_warmup_is_steps_or_a_share() -> None:
    assert Cosine(1000, warmup=0.03).warmup == 30
    assert Cosine(1000, warmup=30).warmup == 30
    assert Cosine(1000, warmup=0).factor(1) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 1000)) / 2)
    assert Cosine(1000, warmup=1).factor(1) == 1.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cosine(10, warmup=2.5), "warmup"),
        (lambda: Cosine(10, warmup=-1), "warmup"),
        (lambda: Linear(10, floor=1.5), "floor"),
        (lambda: InverseSqrt(10, warmup=0.01), "warmup"),
        (lambda: WarmupStableDecay(10, warmup=8, decay=5), "decay"),
        (lambda: WarmupStableDecay(10, floor=0.0), "floor"),
    ],
)
def test_settings_that_do_not_fit_are_named(make: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()  # type: ignore[operator]
