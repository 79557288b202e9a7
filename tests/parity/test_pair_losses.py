"""The losses of pair objectives against transformers' own, on the same samples and weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from objective_samples import WORDS, encoder
from pair_samples import documents

from danlu import models
from danlu.objectives.next_sentence import NextSentence
from danlu.objectives.sentence_order import SentenceOrder

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("family", "kind", "label"),
    [("bert", "BertForPreTraining", "next_sentence_label"), ("albert", "AlbertForPreTraining", "sentence_order_label")],
)
def test_the_loss_is_theirs(family: str, kind: str, label: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    more = {"embed": 16} if family == "albert" else {}
    model = encoder(use=family, **more).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    objective = (NextSentence if family == "bert" else SentenceOrder)(16, WORDS)
    record = objective.sample(documents(1)[0])
    models.save(model, None, tmp_path)
    theirs = getattr(transformers, kind).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = theirs(
            input_ids=record.tokens,
            attention_mask=(record.segment > 0).long(),
            token_type_ids=record.token_type,
            labels=record.targets,
            **{label: record.label},
        ).loss
        loss = objective.loss(model, record)
    assert float(loss.total / loss.weight) == pytest.approx(float(expected), rel=1e-5)
