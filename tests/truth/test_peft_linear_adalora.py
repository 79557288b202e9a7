"""AdaLoRA: equations 4 and 8 to 11 in numpy, the budget of equation 12 by hand, masks that are no deletions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.nn.layout import Layout
from danlu.nn.linear import Linear
from danlu.objectives.next_token import NextToken
from danlu.peft.adalora import Budget
from danlu.peft.attached import attach
from danlu.peft.deltas import deltas_of
from danlu.peft.triplets import SvdDelta
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

SETTINGS = {"rank": 2, "initial": 6, "phases": [2, 4], "interval": 2}


def delta_of(rank: int = 3) -> SvdDelta:
    torch.manual_seed(0)
    base = Linear(5, 4, axes=("a", "b"))
    torch.nn.init.normal_(base.weight)
    delta = SvdDelta(base, rank=rank, scale=1.5)
    for parameter in delta.parameters():
        torch.nn.init.normal_(parameter)
    return delta


def test_the_formula() -> None:
    delta = delta_of().double()
    base = delta.base.double()
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    whole = base.weight + 1.5 * delta.left @ torch.diag(delta.values) @ delta.right
    torch.testing.assert_close(delta(x, base(x)), x @ whole.t())
    torch.testing.assert_close(delta.merged(base.weight, None)[0], whole)


def test_equation_4() -> None:
    delta = delta_of()
    p, q = delta.left.detach().numpy(), delta.right.detach().numpy()
    expected = ((p.T @ p - np.eye(3)) ** 2).sum() + ((q @ q.T - np.eye(3)) ** 2).sum()
    assert delta.strayed().item() == pytest.approx(expected, rel=1e-5)


def test_equations_8_to_11() -> None:
    delta, rng = delta_of(), np.random.default_rng(0)
    parts = {name: p.detach().numpy().copy() for name, p in delta.named_parameters()}
    mean = {name: np.zeros_like(p) for name, p in parts.items()}
    spread = {name: np.zeros_like(p) for name, p in parts.items()}
    for _ in range(4):
        for name, parameter in delta.named_parameters():
            grad = rng.normal(size=parameter.shape).astype(np.float32)
            parameter.grad = torch.from_numpy(grad)
            now = np.abs(parts[name] * grad)
            mean[name] = 0.9 * mean[name] + 0.1 * now
            spread[name] = 0.7 * spread[name] + 0.3 * np.abs(now - mean[name])
        delta.weigh((0.9, 0.7))
    s = {name: mean[name] * spread[name] for name in parts}
    expected = [s["values"][i] + s["left"][:, i].mean() + s["right"][i].mean() for i in range(3)]
    np.testing.assert_allclose(delta.scores().numpy(), expected, rtol=1e-5)


def test_the_budget_by_hand() -> None:
    """From 12 to 4 over steps 2 to 6 of 8: 4 + 8 · (3/4, 2/4, 1/4)³ = 7.375, 5, 4.125, rounded down."""
    budget = Budget(12, 4, 2, 2, 8)
    assert [budget.at(step) for step in range(1, 9)] == [12, 12, 7, 5, 4, 4, 4, 4]


def trainer_of(steps: int = 14, **settings) -> Trainer:
    model = tiny_model()
    torch.manual_seed(0)
    found = attach(model, Spec("adalora", {**SETTINGS, **settings}))
    tending = found.adapter.tending(model, "default", steps)
    return Trainer(model, NextToken(), Fixed(packed(4, 24)), AdamW(lr=1e-2), tending=tending)


def zeros(trainer: Trainer) -> int:
    return sum(int((delta.values == 0).sum()) for delta in deltas_of(trainer.model, "default").values())


def test_masked_triplets_are_there_still_and_may_come_back() -> None:
    trainer = trainer_of()
    trainer.fit(3)
    assert zeros(trainer) == 0
    trainer.fit(4)
    first = 84 - Budget(84, 28, 2, 4, 14).at(4)
    assert zeros(trainer) == first > 0
    delta = next(d for d in deltas_of(trainer.model, "default").values() if not bool(d.kept.all()))
    assert delta.left.shape[1] == 6
    trainer.fit(5)  # between masks: they learn again
    assert zeros(trainer) == 0
    trainer.fit(10)
    assert zeros(trainer) == 84 - 28
    settled = [delta.kept.clone() for delta in deltas_of(trainer.model, "default").values()]
    trainer.fit(14)
    assert zeros(trainer) == 84 - 28
    for delta, mask in zip(deltas_of(trainer.model, "default").values(), settled, strict=True):
        assert torch.equal(delta.kept, mask)
        assert torch.equal(delta.values != 0, mask)


def test_the_penalty_is_in_the_loss_of_training_only() -> None:
    trainer = trainer_of(orthogonality=0.5)
    model, tokens = trainer.model, packed(2, 16).tokens
    strayed = [delta.strayed() for delta in deltas_of(model, "default").values()]
    layout = Layout.dense(tokens)
    model.train()(tokens, layout)
    assert layout.asides()["orthogonality"].item() == pytest.approx(0.5 * torch.stack(strayed).mean().item())
    layout = Layout.dense(tokens)
    model.eval()(tokens, layout)
    assert not layout.asides()
    before = torch.stack(strayed).mean().item()
    trainer.fit(14)
    assert torch.stack([delta.strayed() for delta in deltas_of(model, "default").values()]).mean().item() < before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "a budget of 0 triplets a map is less than one; raise rank to at least 1"),
        ({"rank": 8, "initial": 4}, ".*initial 4 cannot be less than rank 8"),
        ({"initial": 40}, "rank 40 is larger than blocks.0.sublayers.attention.q"),
        ({"phases": [0.1]}, "phases is .before, after."),
        ({"betas": [1.0, 0.5]}, "betas is .importance, uncertainty."),
        ({"interval": 0}, "interval is at least 1"),
    ],
)
def test_refusals(settings, said) -> None:
    with pytest.raises(ConfigError, match=f"adapter adalora: {said}"):
        attach(tiny_model(), Spec("adalora", settings))


def test_a_training_too_short_for_its_phases() -> None:
    with pytest.raises(ConfigError, match="2 steps before the budget falls and 4 after leave none of 6"):
        trainer_of(steps=6)
