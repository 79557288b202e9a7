"""The trainer's promise: the gradient of Σ total / Σ weight, however the batch was cut, packed, scaled or ramped."""

from __future__ import annotations

import pytest
import torch
from objective_samples import WORDS, encoder
from torch import Tensor
from train_tiny import Fixed, packed, tiny_model

from danlu.core.batch import IGNORE, Batch
from danlu.core.errors import DanluError
from danlu.models import Stack
from danlu.objectives.next_sentence import NextSentence
from danlu.objectives.next_token import NextToken
from danlu.train.optims.sgd import Sgd
from danlu.train.precisions.fp16 import Fp16
from danlu.train.precisions.scales.static import Static
from danlu.train.schedules.linear import Linear
from danlu.train.trainer import Trainer


def stepped(batches: list[Batch], **settings: object) -> tuple[float, dict[str, Tensor]]:
    """The loss of one SGD step and the weights after it; SGD hides no fault in a gradient's scale."""
    model = tiny_model()
    trainer = Trainer(model, NextToken(13), Fixed(*batches), Sgd(lr=1.0), clip=None, **settings)  # type: ignore[arg-type]
    return trainer.update(batches).loss, {n: p.detach().clone() for n, p in model.named_parameters()}


def same(a: tuple[float, dict[str, Tensor]], b: tuple[float, dict[str, Tensor]], tolerance: float = 1e-6) -> None:
    assert a[0] == pytest.approx(b[0], rel=1e-5)
    for name in a[1]:
        torch.testing.assert_close(a[1][name], b[1][name], rtol=1e-5, atol=tolerance, msg=name)


@pytest.mark.parametrize("micro", [1, 2, 3, 5, 6])
def test_micro_batches_change_nothing(micro: int) -> None:
    batch = packed(6, 24)
    same(stepped([batch], micro=micro), stepped([batch]))


def test_the_gradient_is_that_of_the_weighted_mean() -> None:
    """Against one backward of torch's own cross-entropy, unpacked by hand."""
    batch = packed(4, 24)
    model = tiny_model()
    logits = model(batch.tokens, layout_of(batch))
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    loss = (nll * batch.weight.flatten()).sum() / batch.weight.sum()
    loss.backward()
    expected = {n: (p - p.grad).detach() for n, p in model.named_parameters()}  # type: ignore[operator]
    same(stepped([batch], micro=3), (loss.item(), expected), 2e-6)


def test_packing_changes_nothing() -> None:
    """Documents packed into rows, and the same documents one a row with padding."""
    batch = packed(3, 24)
    same(stepped([batch]), stepped([alone(batch)]), 2e-6)
    same(stepped([alone(batch)], micro=2), stepped([batch], micro=1), 2e-6)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_a_loss_scale_changes_nothing_but_rounding(scale: float) -> None:
    batch = packed(4, 24)
    precision = Fp16(scaling=Static(value=scale))
    loss, weights = stepped([batch], precision=precision, micro=2)
    same((loss, weights), stepped([batch], precision=Fp16(scaling=Static(value=64.0))), 2e-3)


def test_clipping_shortens_the_gradient_of_the_mean() -> None:
    batch, model = packed(4, 24), tiny_model()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    numbers = Trainer(model, NextToken(), Fixed(batch), Sgd(lr=1.0), clip=0.01, micro=2).update([batch])
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert numbers.norm > 0.01
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_ramp_takes_more_batches_a_step() -> None:
    batches = [packed(2, 24, seed=s) for s in range(7)]
    trainer = Trainer(tiny_model(), NextToken(), Fixed(*batches), Sgd(), ramp=[(2, 3), (1, 2)])
    assert [trainer.update(trainer._draw()).batches for _ in range(3)] == [(0,), (1, 2), (3, 4, 5)]
    joined = Batch(
        *(
            torch.cat([getattr(b, f) for b in batches[:2]])
            for f in ("tokens", "targets", "weight", "segment", "position")
        )
    )
    both = stepped(batches[:2])
    same(both, stepped([joined]), 2e-6)


def test_the_schedule_multiplies_the_peak() -> None:
    batch = packed(2, 24)
    trainer = Trainer(tiny_model(), NextToken(), Fixed(batch), Sgd(lr=0.5), schedule=Linear(4, warmup=2, floor=0.0))
    assert [trainer.update([batch]).lr for _ in range(4)] == pytest.approx([0.25, 0.5, 0.25, 0.0])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_never_reaches_the_weights(poison: float) -> None:
    batch, model = packed(2, 24), tiny_model()
    model.blocks[1].register_forward_hook(lambda module, inputs, output: output * poison)
    before = [p.detach().clone() for p in model.parameters()]
    trainer = Trainer(model, NextToken(), Fixed(batch), Sgd())
    with pytest.raises(DanluError, match=r"step 1: the loss is .* weights are as before it"):
        trainer.fit(3)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_overflow_of_fp16_skips_the_step_and_lowers_the_scale() -> None:
    batch, model = packed(2, 24), tiny_model()
    precision = Fp16()
    assert precision.scale
    precision.scale.value = 2.0**40
    before = [p.detach().clone() for p in model.parameters()]
    trainer = Trainer(model, NextToken(), Fixed(batch), Sgd(), precision=precision)
    numbers = trainer.update([batch])
    assert (numbers.skipped, numbers.finite, trainer.skips) == (True, True, 1)
    assert precision.scale.value == 2.0**39
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_step_without_a_counted_token_is_refused() -> None:
    batch = packed(2, 24)
    silent = Batch(batch.tokens, torch.full_like(batch.targets, IGNORE), batch.weight, batch.segment, batch.position)
    with pytest.raises(DanluError, match="no token of its batches counts"):
        Trainer(tiny_model(), NextToken(), Fixed(silent), Sgd()).fit(1)


def layout_of(batch: Batch) -> object:
    from danlu.nn.layout import Layout

    return Layout.of(batch.position, batch.segment)


def alone(batch: Batch) -> Batch:
    """Every document of packed rows in a row of its own."""
    rows = [
        [getattr(batch, field)[row][batch.segment[row] == s] for field in ("tokens", "targets", "weight", "position")]
        for row in range(len(batch))
        for s in sorted(set(batch.segment[row].tolist()) - {0})
    ]
    width = max(len(row[0]) for row in rows)
    made = [torch.zeros(len(rows), width, dtype=t.dtype) for t in rows[0]]
    segment = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        segment[i, : len(row[0])] = 1
        for whole, part in zip(made, row, strict=True):
            whole[i, : len(part)] = part
    tokens, targets, weight, position = made
    return Batch(tokens, targets, weight, segment, position)


def test_a_model_that_recomputes_its_blocks_steps_alike() -> None:
    batch = packed(4, 24)

    def weights(recompute: bool) -> Stack:
        model = tiny_model()
        model.recompute = recompute
        Trainer(model, NextToken(), Fixed(batch), Sgd(lr=1.0)).update([batch])
        return model

    for a, b in zip(weights(True).parameters(), weights(False).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("micro", [1, 2, 6])
def test_samples_are_drawn_before_a_batch_is_cut(micro: int) -> None:
    """Which tokens are hidden, and which texts are paired, does not depend on how much memory there is."""
    found = []
    for rows in (micro, None):
        torch.manual_seed(0)
        model = encoder()
        trainer = Trainer(model, NextSentence(13, WORDS), Fixed(), Sgd(lr=1.0), clip=None, micro=rows)
        loss = trainer.update([packed(6, 24)]).loss
        found.append((loss, {n: p.detach().clone() for n, p in model.named_parameters()}))
    same(*found, 2e-6)
