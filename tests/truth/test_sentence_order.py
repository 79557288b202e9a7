"""SentenceOrder: halves in their order or swapped; both losses row by row on whole logits."""

from __future__ import annotations

import pytest
import torch
from objective_samples import WORDS, encoder
from pair_samples import apart, documents, layout_of, separate_losses

from danlu.objectives.sentence_order import SentenceOrder


def test_halves_in_order_or_swapped() -> None:
    torch.manual_seed(0)
    objective = SentenceOrder(16, WORDS)
    labels = []
    for seed in range(20):
        batch, texts = documents(seed)
        for number, (a, b, label, _) in enumerate(apart(objective.sample(batch))):
            assert (a + b if label == 0 else b + a) == texts[number]
            labels.append(label)
    assert sum(labels) / len(labels) == pytest.approx(0.5, abs=4 * 0.5 / len(labels) ** 0.5)


def test_both_losses_are_those_of_torch() -> None:
    torch.manual_seed(2)
    model, objective = encoder().eval(), SentenceOrder(7, WORDS)
    record = objective.sample(documents(3)[0])
    masked, told = separate_losses(model, record)
    loss = objective.loss(model, record)
    assert float((loss.total / loss.weight).detach()) == pytest.approx(masked + told, rel=1e-5)


def test_the_question_about_pairs_reaches_pooler_and_classes() -> None:
    """Its gradient is that of the labels' mean loss alone, counted like one masked token a pair of the mean."""
    torch.manual_seed(4)
    model, objective = encoder().eval(), SentenceOrder(16, WORDS)
    record = objective.sample(documents(1)[0])
    loss = objective.loss(model, record)
    (loss.total / loss.weight).backward()
    with torch.no_grad():
        pooled = model.pooler(model.hidden(record.tokens, layout_of(record)), record.segment)  # type: ignore[operator]
        slope = model.classify(pooled).softmax(-1) - torch.eye(2)[record.label]  # type: ignore[operator]
    torch.testing.assert_close(model.classify.weight.grad, slope.T @ pooled / len(pooled))  # type: ignore[union-attr]
