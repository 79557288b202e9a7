"""Every optimizer: goes downhill, leaves frozen parameters alone, and continues from saved state bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from train_tiny import Fixed, packed, tiny_model

from danlu.objectives.next_token import NextToken
from danlu.train import state
from danlu.train.optims import OPTIMS
from danlu.train.trainer import Trainer


def trainer_of(name: str) -> Trainer:
    return Trainer(tiny_model(), NextToken(), Fixed(packed(3, 24), packed(3, 24, seed=1)), OPTIMS[name](lr=0.01))


@pytest.mark.parametrize("name", sorted(OPTIMS))
def test_it_goes_downhill(name: str) -> None:
    """On a bowl with the minimum at 3."""
    weight = nn.Parameter(torch.zeros(4, 4))
    optimizer = OPTIMS[name](lr=0.05).over([("weight", weight)])
    for _ in range(200):
        optimizer.zero_grad()
        (weight - 3).square().sum().backward()
        optimizer.step()
    assert (weight - 3).abs().max() < 0.5


@pytest.mark.parametrize("name", sorted(OPTIMS))
def test_the_learning_rate_is_obeyed(name: str) -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = OPTIMS[name](lr=0.05).over([("weight", weight)])
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(weight, torch.ones(2, 2))


@pytest.mark.parametrize("name", sorted(OPTIMS))
def test_restored_state_continues_bit_for_bit(name: str) -> None:
    whole = trainer_of(name)
    whole.fit(6)
    first = trainer_of(name)
    first.fit(3)
    second = trainer_of(name)
    second.model.load_state_dict(first.model.state_dict())
    state.restore_optimizer(second, state.optimizer_tensors(first), "here")
    state.restore(second, state.describe(first))
    second.fit(6)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", sorted(OPTIMS))
def test_frozen_parameters_never_move(name: str) -> None:
    model = tiny_model()
    model.embed.weight.requires_grad_(False)
    before = model.embed.weight.clone()
    Trainer(model, NextToken(), Fixed(packed(3, 24)), OPTIMS[name]()).fit(2)
    assert torch.equal(model.embed.weight, before)
