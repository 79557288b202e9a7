"""Spans: the lengths and sentinels of T5's own tests; gaps filled in again; partitions; a model without an encoder."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from objective_samples import WORDS, encdec
from pair_samples import documents
from train_tiny import tiny_model

from danlu.core.batch import Batch
from danlu.core.errors import ConfigError
from danlu.nn.layout import Layout
from danlu.objectives.spans import Spans, noise_mask, segmentation
from danlu.objectives.vocabulary import Vocabulary

EOS = WORDS.roles["eos"]


@pytest.fixture(scope="module")
def published(shared: Path) -> dict:
    return json.loads((shared / "theory" / "t5_span_corruption.json").read_text())


def test_sentinels_of_t5s_own_test(published: dict) -> None:
    vocabulary = Vocabulary(size=published["vocab_size"], roles={"eos": 1})
    noise = torch.tensor(published["noise_mask"]).bool()
    found = Spans(16, vocabulary, sentinels=100).gapped(torch.tensor(published["tokens"]), noise)
    assert found.tolist() == published["noise_span_to_unique_sentinel"]


def test_lengths_of_t5s_own_test(published: dict) -> None:
    """So many tokens just fill the inputs, and give targets of just this length; one more would be too many."""
    for case in published["random_spans_helper"]:
        density, mean = case["noise_density"], case["mean_noise_span_length"]
        vocabulary = Vocabulary(size=2000, roles={"eos": 1})
        objective = Spans(16, vocabulary, share=density, mean=mean, sentinels=100)
        sizes = {}
        for tokens in (case["tokens_length"], case["tokens_length"] + 1):
            record = objective.sample(Batch.dense(torch.randint(2, 1000, (1, tokens))))
            sizes[tokens] = (record.source.shape[1], record.target.tokens.shape[1])
        assert sizes[case["tokens_length"]] == (case["inputs_length"], case["targets_length"])
        assert sizes[case["tokens_length"] + 1][0] > case["inputs_length"]


def test_filling_the_gaps_gives_the_text_again() -> None:
    torch.manual_seed(0)
    batch, texts = documents(2)
    record = Spans(16, WORDS, share=0.3, mean=2.0).sample(batch)
    found = []
    for row in range(4):
        for piece in (1, 2, 3):
            source = record.source[row][record.source_segment[row] == piece].tolist()
            inside = record.target.segment[row] == piece
            given, told = record.target.tokens[row][inside].tolist(), record.target.targets[row][inside].tolist()
            assert given[1:] == told[:-1]
            assert source[-1] == told[-1] == EOS
            found.append(_filled(source[:-1], told[:-1]))
    assert found == texts
    assert torch.equal(record.target.weight > 0, record.target.segment > 0)


def _filled(source: list[int], told: list[int]) -> list[int]:
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in told:
        if token in WORDS.sentinels:
            assert token == WORDS.sentinels[len(spans)]
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    assert all(spans.values())
    return [inner for token in source for inner in spans.get(token, [token])]


@pytest.mark.parametrize(
    ("length", "share", "mean"), [(2, 0.15, 3.0), (7, 0.9, 1.0), (100, 0.15, 3.0), (512, 0.5, 3.0)]
)
def test_noise_of_the_right_size_in_the_right_number_of_spans(length: int, share: float, mean: float) -> None:
    noise = min(max(round(length * share), 1), length - 1)
    spans = min(max(round(noise / mean), 1), length - noise)
    for _ in range(50):
        mask = noise_mask(length, share, mean)
        assert len(mask) == length
        assert int(mask.sum()) == noise
        assert int((mask[1:] & ~mask[:-1]).sum()) == spans
        assert not mask[0]
        assert mask[-1]


def test_every_partition_is_equally_likely() -> None:
    torch.manual_seed(0)
    counts = Counter(tuple(segmentation(6, 3).tolist()) for _ in range(5000))
    ways = math.comb(5, 2)
    assert len(counts) == ways
    assert all(sum(parts) == 6 and min(parts) > 0 for parts in counts)
    expected, deviation = 5000 / ways, (5000 / ways * (1 - 1 / ways)) ** 0.5
    assert all(abs(count - expected) < 4.5 * deviation for count in counts.values())


def test_the_loss_is_that_of_each_document_by_itself() -> None:
    """Packed rows against one document a call: by torch's cross-entropy, begun with the model's own token."""
    torch.manual_seed(1)
    model = encdec().eval()
    objective = Spans(7, WORDS)
    record = objective.sample(documents(5)[0])
    loss = objective.loss(model, record)
    total = 0.0
    with torch.no_grad():
        for row in range(4):
            for piece in (1, 2, 3):
                source = record.source[row][record.source_segment[row] == piece][None]
                told = record.target.targets[row][record.target.segment[row] == piece][None]
                given = torch.cat([torch.tensor([[model.begin]]), told[:, :-1]], 1)
                layout = Layout.dense(given)
                memory = model.read(source, Layout.dense(source))
                logits = model(given, Layout(layout.position, layout.segment, memory=memory))
                total += float(torch.nn.functional.cross_entropy(logits[0], told[0], reduction="sum"))
    assert loss.total.item() == pytest.approx(total, rel=1e-5)
    assert loss.weight.item() == (record.target.segment > 0).sum()


def test_mistakes_are_sentences() -> None:
    with pytest.raises(ConfigError, match=r"<extra_id_0>.*or give objective.sentinels"):
        Spans(16, Vocabulary(size=40, roles={"eos": 2}))
    with pytest.raises(ConfigError, match=r"needs a token for 'eos'"):
        Spans(16, Vocabulary(size=40), sentinels=3)
    with pytest.raises(ConfigError, match=r"needs 0 < share < 1 and mean ≥ 1, found share 1.5"):
        Spans(16, WORDS, share=1.5)
    with pytest.raises(ConfigError, match=r"has 5 gaps and there are only 3 sentinels"):
        Spans(16, WORDS).sample(Batch.dense(torch.randint(5, 36, (1, 101))))
    Spans(16, WORDS).check(encdec())
    with pytest.raises(ConfigError, match=r"Stack has no encoder; use architecture"):
        Spans(16, WORDS).check(tiny_model())
