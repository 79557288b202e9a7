"""Blank: the paper's figure; samples put together again; gradients show who saw whom; how long blanks are."""

from __future__ import annotations

import math

import pytest
import torch
from objective_samples import WORDS
from pair_samples import documents
from train_tiny import tiny_model

from danlu.core.batch import IGNORE, Batch
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Stack, build
from danlu.nn.layout import Layout
from danlu.objectives.blank import Blank, Blanks
from danlu.objectives.vocabulary import Vocabulary

MASK, START, END = (WORDS.roles[role] for role in ("mask", "start", "end"))


def test_figure_2_of_the_paper() -> None:
    """x_1 … x_6 with the spans x_3 and x_5 x_6, written in the order second, first; positions from 0 here."""
    x = torch.arange(11, 17)
    row = Blank(16, WORDS).arranged(x, [(2, 3), (4, 6)], [1, 0])
    assert row["tokens"].tolist() == [11, 12, MASK, 14, MASK, START, 15, 16, START, 13]
    assert row["targets"].tolist() == [IGNORE] * 5 + [15, 16, END, 13, END]
    assert row["position"].tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 2, 2]
    assert row["inner"].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]
    assert row["order"].tolist() == [4] * 5 + [5, 6, 7, 8, 9]
    assert row["weight"].tolist() == [0.0] * 5 + [1.0] * 5


def drawn(seed: int, **settings: float) -> tuple[Blanks, list[list[int]]]:
    torch.manual_seed(seed)
    batch, texts = documents(seed)
    return Blank(16, WORDS, **settings).sample(batch), texts


@pytest.mark.parametrize("settings", [{}, {"share": 0.5}, {"share": 0.6, "mean": 1.0}, {"share": 0.9, "mean": 6.0}])
def test_putting_the_spans_back_gives_the_text_again(settings: dict[str, float]) -> None:
    found, shuffled = [], 0
    for seed in range(8):
        record, texts = drawn(seed, **settings)
        for row in range(4):
            for piece in (1, 2, 3):
                here = record.segment[row] == piece
                columns = {name: c[row][here].tolist() for name, c in record.columns.items()}
                text, places = _filled(columns, record.inner[row][here].tolist())
                found.append(text == texts[3 * row + piece - 1])
                shuffled += places != sorted(places)
    assert all(found)
    assert (shuffled > 0) == (settings != {})  # documents of at most nine tokens: a single blank at 15 %


def _filled(columns: dict[str, list], inner: list[int]) -> tuple[list[int], list[int]]:
    """The text, its blanks filled in by the targets, and the places of the spans as they were written."""
    size = inner.index(1)
    a, spans = columns["tokens"][:size], {}
    current: list[int] = []
    for at in range(size, len(inner)):
        if inner[at] == 1:
            assert columns["tokens"][at] == START
            spans[columns["position"][at]] = current = []
        else:
            assert columns["tokens"][at] == columns["targets"][at - 1]
        if columns["targets"][at] != END:
            current.append(columns["targets"][at])
    assert set(spans) == {at for at, token in enumerate(a) if token == MASK}
    assert not any(a[i] == a[i + 1] == MASK for i in range(size - 1))
    return [t for at, token in enumerate(a) for t in spans.get(at, [token])], list(spans)


def test_how_much_is_blank_and_in_how_many_spans() -> None:
    """15 % of the tokens, in spans of Poisson(3) tokens, at least 1: the mean of max(1, l) is 3 + e^-3."""
    torch.manual_seed(0)
    objective = Blank(16, WORDS)
    spans = [span for _ in range(200) for span in objective.spans(400)]
    assert sum(stop - start for start, stop in spans) == 200 * 60
    assert 60 * 200 / len(spans) == pytest.approx(3 + math.exp(-3), abs=0.1)  # the last of a text is cut short


def test_neither_end_is_preferred() -> None:
    torch.manual_seed(0)
    objective = Blank(16, WORDS, share=0.25, mean=1e-6)
    counts = torch.zeros(8)
    for _ in range(1500):
        for start, stop in objective.spans(8):
            counts[start:stop] += 1
    assert counts.sum() == 3000
    assert (counts - counts.flip(0)).abs().max() < 5 * 375**0.5


def test_who_sees_whom() -> None:
    """Part A all of itself; part B all of A and, of B, what was written before; nobody another document."""
    record, _ = drawn(3, share=0.4, mean=2.0)
    model = build(Spec("decoder", {"model": 16, "layers": 1, "heads": 2, "context": 64}), vocab=40)
    assert isinstance(model, Stack)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    x = model.embed(record.tokens).detach().requires_grad_()
    hidden = model.through(x, Layout.of(record.position, record.segment, order=record.order))
    inner, segment = record.inner[0].tolist(), record.segment[0].tolist()
    for t in range(sum(number > 0 for number in segment)):
        (grad,) = torch.autograd.grad(hidden[0, t, :3].sum(), x, retain_graph=True)
        seen = (grad[0].abs().sum(-1) > 1e-9).nonzero().flatten().tolist()
        same = [s for s in range(len(inner)) if segment[s] == segment[t]]
        assert seen == [s for s in same if inner[s] == 0 or (inner[t] > 0 and s <= t)]


def test_the_loss_by_torch() -> None:
    record, _ = drawn(1)
    model, objective = tiny_model(), Blank(7, WORDS)
    loss = objective.loss(model, record)
    with torch.no_grad():
        layout = Layout.of(record.position, record.segment, order=record.order, inner=record.inner)
        logits = model(record.tokens, layout)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), record.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.weight.item() == (record.targets != IGNORE).sum()


def test_mistakes_are_sentences() -> None:
    with pytest.raises(ConfigError, match=r"objective blank needs a token for 'start'.*<\|startofpiece\|>"):
        Blank(16, Vocabulary(size=9, roles={"mask": 1}))
    with pytest.raises(ConfigError, match=r"0 < share < 1 and mean > 0, found share 1.0"):
        Blank(16, WORDS, share=1.0)


def test_a_document_of_one_token_has_no_blank() -> None:
    record = Blank(16, WORDS).sample(Batch.dense(torch.tensor([[1, 7]])))
    assert record.segment.sum() == 0
