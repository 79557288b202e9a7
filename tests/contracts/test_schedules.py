"""Every schedule: rises through warm-up to the peak, never above it, never below its floor, and remembers nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from danlu.core.spec import Spec
from danlu.train.schedules import SCHEDULES, Schedule

STEPS = [10, 500]


def made(name: str, steps: int, **settings: float) -> Schedule:
    return Spec(name, settings).build(SCHEDULES, steps)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_it_rises_through_warmup_and_peaks_at_one(name: str, steps: int) -> None:
    schedule = made(name, steps, warmup=0.2)
    factors = [schedule.factor(step) for step in range(1, steps + 1)]
    warm = factors[: schedule.warmup]
    assert warm == pytest.approx([(i + 1) / len(warm) for i in range(len(warm))])
    assert max(factors) == factors[schedule.warmup - 1] == 1.0


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_after_warmup_it_never_rises_and_never_leaves_its_band(name: str, steps: int) -> None:
    schedule = made(name, steps, warmup=0.2)
    after = [schedule.factor(step) for step in range(schedule.warmup, steps + 1)]
    assert all(b <= a + 1e-12 for a, b in pairwise(after))
    assert all(schedule.floor - 1e-12 <= f <= 1 for f in after if schedule.floor < 1)
    assert min(after) >= 0


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_it_is_a_function_of_the_step(name: str) -> None:
    schedule = made(name, 100)
    forward = [schedule.factor(step) for step in range(1, 101)]
    assert [schedule.factor(step) for step in range(100, 0, -1)][::-1] == forward
    assert made(name, 100).factor(57) == forward[56]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_warmup_may_be_a_share_or_steps(name: str) -> None:
    share, steps = made(name, 200, warmup=0.05), made(name, 200, warmup=10)
    assert [share.factor(s) for s in range(1, 201)] == [steps.factor(s) for s in range(1, 201)]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_one_step_is_enough(name: str) -> None:
    assert 0 < made(name, 1, warmup=1).factor(1) <= 1
