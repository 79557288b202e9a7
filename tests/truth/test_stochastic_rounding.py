"""Rounding by chance: its bits, its expectation, and that steps far below the spacing of bfloat16 are not lost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.train.optims.sgd import Sgd
from danlu.train.stepping import Masters, Stepping, Stochastic, stochastic_bf16


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def neighbors(wide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """By the bits: the lower half struck, and the next bfloat16 away from zero."""
    low = (wide.view(torch.int32) & -65536).view(torch.float32)
    high = ((wide.view(torch.int32) & -65536) + 65536).view(torch.float32)
    return low, high


def test_the_answer_is_one_of_two_neighbors() -> None:
    wide = torch.randn(10_000).mul_(3).exp() * torch.randn(10_000)
    low, high = neighbors(wide)
    found = stochastic_bf16(wide).float()
    assert ((found == low) | (found == high)).all()
    assert 0.3 < (found == low).float().mean() < 0.7


@pytest.mark.parametrize("share", [0.0, 0.125, 0.5, 0.9])
@pytest.mark.parametrize("low", [1.0, -1.5, 3e-30])
def test_the_chance_is_the_place_between_them(low: float, share: float) -> None:
    """Mean of n draws within 4 standard errors of the number itself."""
    low_, high = neighbors(torch.tensor([low]))
    number = low_ + share * (high - low_)
    draws = stochastic_bf16(number.expand(40_000).contiguous()).float()
    up = (draws == high).float().mean().item()
    place = ((number - low_) / (high - low_)).item()
    assert up == pytest.approx(place, abs=4 * (0.25 / 40_000) ** 0.5 + 1e-9)
    if share == 0.0:
        assert (draws == low_).all(), "what is a bfloat16 stays"


def walked(care: type[Stochastic] | None, steps: int = 400) -> torch.Tensor:
    """Weights of 1 that lose 2⁻¹² a step, an sixteenth of half the spacing below 1."""
    weight = nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
    stepping = Stepping(Sgd(lr=2.0**-13).over([("weight", weight)]), [care()] if care else [])
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        stepping.step()
    return weight.detach().float()


def test_tiny_steps_survive_in_the_mean_and_are_lost_to_the_nearest() -> None:
    expected = 1 - 400 * 2.0**-13
    found = walked(Stochastic)
    assert found.mean().item() == pytest.approx(expected, abs=4 * float(found.std()) / 2000**0.5)
    assert torch.equal(walked(None), torch.ones(2000)), "round to nearest keeps nothing of them"


def test_masters_lose_nothing() -> None:
    weight = nn.Parameter(torch.ones(10, dtype=torch.bfloat16))
    masters = Masters([weight])
    stepping = Stepping(Sgd(lr=2.0**-13).over([("weight", weight)]), [masters], masters.states)
    for _ in range(400):
        weight.grad = torch.ones_like(weight)
        stepping.step()
    (kept,) = (state["master"] for state in stepping.states[1].values())
    assert torch.equal(kept, torch.full((10,), 1 - 400 * 2.0**-13))
    assert torch.equal(weight.detach(), kept.bfloat16())
    assert (weight.dtype, weight.grad) == (torch.bfloat16, None)
