"""NextSentence: pairs taken apart again; both losses row by row on whole logits; a model without classes; one document."""

from __future__ import annotations

import pytest
import torch
from objective_samples import WORDS, encoder
from pair_samples import apart, documents, separate_losses
from train_tiny import tiny_model

from danlu.core.batch import Batch
from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.objectives.next_sentence import NextSentence


def test_the_second_text_is_the_documents_own_or_anothers_half() -> None:
    torch.manual_seed(0)
    objective = NextSentence(16, WORDS)
    labels = []
    for seed in range(20):
        batch, texts = documents(seed)
        for number, (a, b, label, types) in enumerate(apart(objective.sample(batch))):
            own = texts[number]
            cut = len(a)
            assert own[:cut] == a
            others = [text for n, text in enumerate(texts) if n != number]
            assert own[cut:] == b if label == 0 else any(text[-len(b) :] == b for text in others)
            assert types == [0] * (len(a) + 2) + [1] * (len(b) + 1)
            labels.append(label)
    assert sum(labels) / len(labels) == pytest.approx(0.5, abs=4 * 0.5 / len(labels) ** 0.5)


def test_long_pairs_are_cut_to_the_row() -> None:
    torch.manual_seed(1)
    tokens = torch.randint(5, 36, (8, 25))
    batch = Batch.dense(tokens)
    for a, b, label, _ in apart(NextSentence(16, WORDS).sample(batch)):
        assert len(a) + len(b) + 3 <= 24
        assert min(len(a), len(b)) >= 1
        if label == 0 and len(a) + len(b) == 21:
            assert any(_inside(a, row) and _inside(b, row) for row in tokens.tolist())


def _inside(part: list[int], whole: list[int]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole)))


def test_both_losses_are_those_of_torch() -> None:
    """mean masked loss + mean sentence loss, from whole logits; also when the step's batch is cut."""
    torch.manual_seed(2)
    model, objective = encoder().eval(), NextSentence(7, WORDS)
    record = objective.sample(documents(3)[0])
    masked, told = separate_losses(model, record)
    for cuts in (1, 3):
        losses = [objective.loss(model, part) for part in record.split(cuts)]
        weight = sum(float(loss.weight) for loss in losses)
        found = {name: sum(float(loss.metrics[name]) for loss in losses) / weight for name in losses[0].metrics}
        assert sum(float(loss.total.detach()) for loss in losses) / weight == pytest.approx(masked + told, rel=1e-5)
        assert found["masked"] == pytest.approx(masked, rel=1e-5)
        assert found["pairs"] == pytest.approx(told, rel=1e-5)
        assert 0 <= found["pairs_right"] <= 1


def test_one_document_has_no_other() -> None:
    batch = Batch.dense(torch.randint(5, 36, (1, 21)))
    objective = NextSentence(16, WORDS)
    with pytest.raises(ConfigError, match=r"holds only one; raise train.tokens"):
        for _ in range(30):
            objective.sample(batch)
    objective.eval()
    assert {int(objective.sample(batch).label[0]) for _ in range(30)} == {0}


def test_a_model_without_classes_is_a_sentence() -> None:
    objective = NextSentence(16, WORDS)
    objective.check(encoder())
    decoder = build(Spec("decoder", {"model": 16, "layers": 1, "heads": 2, "context": 32, "mask": "full"}), vocab=40)
    with pytest.raises(ConfigError, match=r"next_sentence asks one of two answers.*scores no classes; use.*bert"):
        objective.check(decoder)
    with pytest.raises(ShapeError, match=r"no pooler and classes.*use: bert"):
        objective.loss(tiny_model(), objective.sample(documents(0)[0]))
