"""The Fisher mask against means of squares and the largest of them by hand; what is not chosen stays bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.core.batch import Batch
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.model import Model
from danlu.nn.sites import own
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach, restore_state, state_of, switch_of
from danlu.peft.masked import masks_of
from danlu.peft.units import Block, Head, Number, Row, most_telling
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

SAMPLES = 3
BATCHES = [packed(3, 32, seed=seed) for seed in range(SAMPLES)]
AT = "blocks.*"


def begun(steps: int = 12, **settings: Any) -> Trainer:
    model = tiny_model(ffn=24)
    attach(model, Spec("fisher", {"samples": SAMPLES, "share": 0.02, "at": AT, **settings}))
    tending = switch_of(model).adapters["default"].adapter.tending(model, "default", steps)
    optim = AdamW(lr=1e-2, weight_decay=0.5)
    return Trainer(model, NextToken(64, None), Fixed(*BATCHES), optim, clip=None, tending=tending)


def squares(batches: list[Batch]) -> dict[str, torch.Tensor]:
    """1/N Σ g², g the gradient of the weighted mean over one batch, on a model of its own."""
    model = tiny_model(ffn=24)
    sums = {n: torch.zeros_like(p) for n, p in model.named_parameters() if n.startswith("blocks.")}
    for batch in batches:
        model.zero_grad()
        loss = NextToken(64, None).loss(model, batch)
        (loss.total / loss.weight).backward()
        for name, parameter in model.named_parameters():
            if name in sums:
                sums[name] += parameter.grad**2 / len(batches)
    return sums


def test_the_mask_is_the_largest_means_of_squares() -> None:
    trainer = begun()
    before = {n: t.clone() for n, t in own(trainer.model)}
    trainer.fit(SAMPLES - 1)
    fisher = squares(BATCHES)
    masks = masks_of(trainer.model, "default")
    for name, mean in squares(BATCHES[:-1]).items():
        torch.testing.assert_close(masks.of(name) / (SAMPLES - 1), mean, rtol=1e-4, atol=1e-12)
    trainer.fit(SAMPLES)
    assert all(torch.equal(t, before[n]) for n, t in own(trainer.model)), "nothing moves while it is measured"
    flat = sorted((float(v), n, i) for n, m in fisher.items() for i, v in enumerate(m.flatten()))
    count = int(0.02 * len(flat))
    chosen = {(n, i) for _, n, i in flat[-count:]}
    found = {(n, int(i)) for n in fisher for i in masks.of(n).flatten().nonzero()}
    assert len(found) == count
    assert len(found & chosen) >= count - 2, "but for ties by rounding"


def test_what_is_not_chosen_stays_bit_by_bit() -> None:
    """AdamW decays every number of a matrix; those outside of the mask must not feel it."""
    trainer = begun()
    before = {n: t.clone() for n, t in own(trainer.model)}
    trainer.fit(12)
    masks = masks_of(trainer.model, "default")
    moved = 0
    for name, tensor in own(trainer.model):
        changed = tensor != before[name]
        if name.startswith("blocks."):
            assert torch.equal(changed, masks.of(name).bool()), name
            moved += int(changed.sum())
            moments = trainer.optimizer.state[dict(trainer.model.named_parameters())[name]]
            assert torch.equal(moments["exp_avg_sq"] != 0, changed), "optimizers do not hear of the others either"
        else:
            assert not changed.any()
    assert moved == int(0.02 * sum(t.numel() for n, t in own(trainer.model) if n.startswith("blocks.")))


def test_the_optimizer_begins_when_training_does() -> None:
    """Moments and counted steps are forgotten: the first step is that of a fresh AdamW on masked gradients."""
    trainer = begun()
    trainer.fit(SAMPLES)
    model = trainer.model
    for state in trainer.optimizer.state.values():
        assert all(not value.any() for value in state.values())
    masks = masks_of(model, "default")
    place = max((n for n in masks.keys if ".sublayers." in n), key=lambda n: int(masks.of(n).sum()))
    before, mask = dict(own(model))[place].clone(), masks.of(place).bool()
    assert mask.any()
    trainer.fit(SAMPLES + 1)
    after = dict(own(model))[place]
    step = (after - before * (1 - 1e-2 * 0.5))[mask]
    torch.testing.assert_close(step.abs(), torch.full_like(step, 1e-2), rtol=1e-2, atol=0)  # Adam's first: lr · sign


@pytest.mark.parametrize("at", [1, SAMPLES, 7])
def test_resumes_bit_by_bit(at: int) -> None:
    whole = begun()
    whole.fit(12)
    first = begun()
    first.fit(at)
    state = {k: t.clone() for k, t in state_of(first.model, "default").items()}
    optimizer = first.optimizer.state_dict()
    other = begun()
    restore_state(other.model, "default", state, "here")
    other.optimizer.load_state_dict(optimizer)
    other.step = at
    other.stream.restore({"at": at})
    other.fit(12)
    for key, tensor in state_of(whole.model, "default").items():
        assert torch.equal(tensor, state_of(other.model, "default")[key]), key


def test_a_step_that_is_skipped_is_measured_later() -> None:
    """A loss that is not finite reaches neither the sums nor the count of samples."""
    from danlu.core.errors import DanluError

    trainer = begun()
    trainer.fit(1)
    with torch.no_grad():
        trainer.model.embed.weight.mul_(float("nan"))
    with pytest.raises(DanluError, match="the loss is nan"):
        trainer.fit(2)
    masks = masks_of(trainer.model, "default")
    assert masks.taken.value == 1
    assert all(torch.isfinite(masks.of(n)).all() for n in masks.keys)
    assert trainer.tending.pace(3) == 0.0


def model() -> Model:
    return tiny_model(ffn=24)


def test_groups_by_hand() -> None:
    """Rows are chosen by the mean of their scores, bias included, as many as fit the share."""
    unit = Row(model())
    scores = {
        "a.weight": torch.tensor([[1.0, 2.0], [9.0, 0.0], [4.0, 4.0]]),
        "a.bias": torch.tensor([3.0, 0.0, 7.0]),
        "b.weight": torch.tensor([[5.0], [0.5], [0.1], [0.2]]),
    }
    # means: a0 (1+2+3)/3 = 2, a1 3, a2 5; b0 5, b1 .5, b2 .1, b3 .2; 13 numbers in all
    masks = most_telling(unit, scores, 4.5 / 13)  # a2 (3 numbers) and b0 (1) fit
    assert masks["a.weight"].tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert masks["a.bias"].tolist() == [False, False, True]
    assert masks["b.weight"].flatten().tolist() == [True, False, False, False]
    masks = most_telling(Number(model()), scores, 3 / 13)
    assert masks["a.weight"].tolist() == [[False, False], [True, False], [False, False]]
    assert masks["a.bias"].tolist() == [False, False, True]
    assert masks["b.weight"].flatten().tolist() == [True, False, False, False]


def test_heads_and_blocks_by_hand() -> None:
    one = model()
    place = "blocks.1.sublayers.attention"
    parameters = {n: p for n, p in one.named_parameters() if n.startswith("blocks.")}
    scores = {n: torch.zeros_like(p) for n, p in parameters.items() if ".attention." in n}
    scores[f"{place}.q.weight"][16:24] = 1.0  # head 2
    scores[f"{place}.o.weight"][:, 16:24] = 1.0
    scores[f"{place}.k.weight"][8:16] = 0.9  # key head 1
    unit = Head(one)
    scores = {n: s for n, s in scores.items() if unit.groups(n, s)}
    assert not [n for n in scores if n.rsplit(".", 2)[1] not in "qkvo"]
    masks = most_telling(unit, scores, 2 / 16)
    assert {n for n, m in masks.items() if m.any()} == {f"{place}.{leaf}.weight" for leaf in "qokv"}
    assert masks[f"{place}.q.weight"].any(1).nonzero().flatten().tolist() == list(range(16, 24))
    assert masks[f"{place}.o.weight"].any(0).nonzero().flatten().tolist() == list(range(16, 24))
    assert masks[f"{place}.v.weight"].any(1).nonzero().flatten().tolist() == list(range(8, 16))
    tall = {n: torch.full_like(p, 1.0 + ("blocks.1" in n)) for n, p in parameters.items()}
    masks = most_telling(Block(one), tall, 0.5)
    assert all(bool(m.all()) == ("blocks.1" in n) and bool(m.any()) == ("blocks.1" in n) for n, m in masks.items())


@pytest.mark.parametrize("unit", ["row", "head", "block"])
def test_structured_masks_train(unit: str) -> None:
    trainer = begun(unit=unit, share=0.5)
    before = {n: t.clone() for n, t in own(trainer.model)}
    trainer.fit(8)
    masks = masks_of(trainer.model, "default")
    changed = {n: t != before[n] for n, t in own(trainer.model)}
    for name in masks.keys:
        assert torch.equal(changed.pop(name), masks.of(name).bool()), name
    assert not any(c.any() for c in changed.values())
    assert 0.2 < sum(float(masks.of(n).sum()) for n in masks.keys) / sum(masks.of(n).numel() for n in masks.keys) <= 0.5


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"samples \(3\) leaves none of 3 steps to train in; lower it"):
        begun(steps=3)
    with pytest.raises(ConfigError, match=r"share lies in \(0, 1\]"):
        attach(model(), Spec("fisher", {"share": 0.0}))
    with pytest.raises(ConfigError, match=r"no unit named 'rows' \(did you mean 'row'"):
        attach(model(), Spec("fisher", {"unit": "rows"}))
    with pytest.raises(ConfigError, match="nothing that at names is made of units called head"):
        attach(model(), Spec("fisher", {"unit": "head", "at": "ffn.*"}))
    recurrent = build(Spec("recurrent", {"model": 16, "layers": 1, "context": 32}), vocab=40)
    with pytest.raises(ConfigError, match="this recurrent has no place to keep masks; choose whole parameters"):
        attach(recurrent, Spec("fisher", {"at": "cells.*"}))
    assert all(p.requires_grad for p in recurrent.parameters())
