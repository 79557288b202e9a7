"""Every objective: a sum and its weight, additive over any cut of the batch, with a gradient that is additive too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from objective_samples import WORDS, encdec, encoder
from torch import Tensor
from train_tiny import packed, tiny_model

from danlu.core.batch import Batch, Record, Seq2Seq
from danlu.nn.model import Model
from danlu.objectives import OBJECTIVES, Loss, Objective
from danlu.objectives.pairs import Pairs

RECORDS: dict[type[Record], Callable[[], Record]] = {Batch: lambda: packed(6, 24)}
"""How each kind of record is made; an objective that reads a new kind needs an entry."""
MODELS: dict[type[Record], Callable[[], Model]] = {Seq2Seq: encdec, Pairs: encoder}
"""A model for each kind of sample; any decoder for those that are not here."""


def sampled(objective: Objective) -> Record:
    """A batch as ``loss`` reads it, late in training."""
    torch.manual_seed(7)
    return objective.sample(RECORDS[objective.reads](), 500)


def parts_of(name: str, chunk: int = 16) -> tuple[Objective, Model, Record]:
    objective = OBJECTIVES[name](chunk, WORDS)
    record = sampled(objective)
    return objective, MODELS.get(type(record), tiny_model)(), record


def equal(a: Record, b: Record) -> bool:
    same = []
    a.map(lambda t: (same.append(t), t)[1])
    b.map(lambda t: (same.append(torch.equal(same.pop(0), t)), t)[1])
    return all(same)


def gradient(objective: Objective, model: Model, records: list[Record]) -> tuple[list[Loss], list[Tensor]]:
    model.zero_grad()
    losses = [objective.loss(model, record) for record in records]
    for loss in losses:
        loss.total.backward()
    return losses, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("cuts", [2, 3, 6])
def test_parts_add_up_to_the_whole(name: str, cuts: int) -> None:
    objective, model, record = parts_of(name)
    (whole,), expected = gradient(objective, model, [record])
    pieces, found = gradient(objective, model, record.split(cuts))
    assert sum(loss.total.item() for loss in pieces) == pytest.approx(whole.total.item(), rel=1e-5)
    assert sum(float(loss.weight) for loss in pieces) == pytest.approx(float(whole.weight), rel=1e-6)
    for key, value in whole.metrics.items():
        assert sum(float(loss.metrics[key]) for loss in pieces) == pytest.approx(float(value), rel=1e-5)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_batch_twice_counts_twice(name: str) -> None:
    objective, model, record = parts_of(name)
    once = objective.loss(model, record)
    twice = objective.loss(model, record.map(lambda t: torch.cat([t, t])))
    assert twice.total.item() == pytest.approx(2 * once.total.item(), rel=1e-5)
    assert float(twice.weight) == pytest.approx(2 * float(once.weight), rel=1e-6)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_the_chunk_changes_nothing(name: str, chunk: int) -> None:
    objective, model, record = parts_of(name)
    _, expected = gradient(objective, model, [record])
    _, found = gradient(OBJECTIVES[name](chunk, WORDS), model, [record])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_only_the_total_carries_a_gradient(name: str) -> None:
    objective, model, record = parts_of(name)
    loss = objective.loss(model, record)
    assert loss.total.requires_grad
    assert loss.total.ndim == loss.weight.ndim == 0
    assert not any(tensor.requires_grad for tensor in (loss.weight, *loss.metrics.values()))
    with torch.no_grad():
        assert not objective.loss(model, record).total.requires_grad


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradient_by_finite_differences(name: str) -> None:
    """Along a random direction in weight space, in float64."""
    objective, model, record = parts_of(name)
    model = model.double()
    _, grads = gradient(objective, model, [record])
    rng = torch.Generator().manual_seed(1)
    way = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in model.parameters()]
    slope = sum(float((g * d).sum()) for g, d in zip(grads, way, strict=True))
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for p, d in zip(model.parameters(), way, strict=True):
                p += step * d
            values.append(float(objective.loss(model, record).total))
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("training", [True, False])
def test_a_sample_is_decided_by_torchs_generator_and_leaves_the_data_alone(name: str, training: bool) -> None:
    """Which is what checkpoints keep: a resumed run draws what the uninterrupted one does."""
    objective = OBJECTIVES[name](16, WORDS).train(training)
    first = sampled(objective)
    state = torch.get_rng_state()
    batch = RECORDS[objective.reads]()
    before = batch.map(torch.clone)
    later = objective.sample(batch, 500)
    torch.set_rng_state(state)
    assert equal(objective.sample(batch, 500), later)
    assert equal(batch, before)
    assert equal(sampled(OBJECTIVES[name](16, WORDS).train(training)), first)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_batch_without_text_has_no_weight(name: str) -> None:
    """The last rows of what is held out may be padding and a document of one token."""
    objective = OBJECTIVES[name](16, WORDS).eval()
    model = parts_of(name)[1]
    batch = RECORDS[objective.reads]().map(torch.zeros_like)
    for part in objective.sample(batch, 500).split(1):
        assert float(objective.loss(model, part).weight) == 0.0
