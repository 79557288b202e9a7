"""Every precision: near fp32 on a real step, fp32 weights and gradients, training that lowers the loss."""

from __future__ import annotations

import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.objectives.next_token import NextToken
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.sgd import Sgd
from danlu.train.precisions import PRECISIONS, SCALES
from danlu.train.trainer import Trainer


def trainer_of(name: str, optim: object, **settings: object) -> Trainer:
    model = tiny_model()
    return Trainer(model, NextToken(), Fixed(packed(4, 24)), optim, precision=PRECISIONS[name](), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(PRECISIONS))
def test_a_step_is_near_that_of_fp32(name: str) -> None:
    exact, rounded = trainer_of("fp32", Sgd(lr=0.1)), trainer_of(name, Sgd(lr=0.1))
    a, b = exact.update([packed(4, 24)]), rounded.update([packed(4, 24)])
    assert b.loss == pytest.approx(a.loss, rel=0.01)
    assert b.norm == pytest.approx(a.norm, rel=0.05)
    for p, q in zip(exact.model.parameters(), rounded.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("name", sorted(PRECISIONS))
def test_weights_gradients_and_optimizer_are_fp32(name: str) -> None:
    trainer = trainer_of(name, AdamW())
    trainer.update([packed(4, 24)])
    held = [t for p in trainer.model.parameters() for t in (p, p.grad, *trainer.optimizer.state[p].values())]
    assert {t.dtype for t in held if isinstance(t, torch.Tensor)} == {torch.float32}


@pytest.mark.parametrize("name", sorted(PRECISIONS))
def test_it_trains(name: str) -> None:
    trainer = trainer_of(name, AdamW(lr=0.01))
    first = trainer.update([packed(4, 24)]).loss
    trainer.fit(12)
    assert trainer.update([packed(4, 24)]).loss < first - 0.3
    assert trainer.skips == 0


@pytest.mark.parametrize("name", sorted(SCALES))
def test_scales_are_told_and_restored(name: str) -> None:
    first, second = SCALES[name](), SCALES[name]()
    for overflowed in (False, True, False):
        first.update(overflowed)
    second.restore(first.state())
    assert second.state() == first.state()
    assert first.value > 0
