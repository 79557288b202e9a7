"""Prefix: gradients show who saw whom; the prefix is not told; a prefix of one token is next-token prediction."""

from __future__ import annotations

import pytest
import torch
from train_tiny import packed, tiny_model

from danlu.core.batch import Batch
from danlu.core.spec import Spec
from danlu.models import Recipe, Stack
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.objectives.next_token import NextToken
from danlu.objectives.prefix import Prefix, Prefixed

PLACES = ["rope", "learned", "none"]


def drawn(seed: int, record: Batch) -> Prefixed:
    torch.manual_seed(seed)
    return Prefix(16).sample(record)


def sizes(record: Prefixed) -> list[tuple[int, int, int, int]]:
    """(row, start, stop, size of the prefix) of each document."""
    spans = Layout.of(record.position, record.segment).spans
    assert spans is not None
    return [(row, a, b, 1 + int(record.order[row, a])) for row, a, b in spans]


@pytest.mark.parametrize("position", PLACES)
@pytest.mark.parametrize("kernels", [("sdpa",), ("reference",), ("tiled",)])
def test_who_sees_whom(position: str, kernels: tuple[str, ...]) -> None:
    """Hidden state t depends on input s: of its own document, in the prefix or not after t."""
    record = drawn(4, packed(1, 24))
    dims = Dims(vocab=40, model=16, layers=1, heads=2, context=32)
    model = Stack(Recipe(dims=dims, position=Spec(position), kernels=tuple(map(Spec, kernels))))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1 if parameter.ndim == 1 else torch.randn(parameter.shape) * 0.3)
    x = model.embed(record.tokens).detach().requires_grad_()
    layout = Layout.of(record.position, record.segment, order=record.order)
    hidden = model.through(x, layout)
    for row, start, stop, size in sizes(record):
        for t in range(start, stop):
            (grad,) = torch.autograd.grad(hidden[row, t, :3].sum(), x, retain_graph=True)
            seen = (grad[row].abs().sum(-1) > 1e-9).nonzero().flatten().tolist()
            assert seen == [s for s in range(start, stop) if s < start + size or s <= t]


def test_only_what_comes_after_the_prefix_is_told() -> None:
    batch = packed(8, 24)
    record = drawn(1, batch)
    found = sizes(record)
    for row, start, stop, size in found:
        told = range(start + size - 1, stop)
        for t in range(start, stop):
            assert record.weight[row, t] == (batch.weight[row, t] if t in told else 0.0)
    assert {size for *_, size in found} >= {1, 2, 3, 4, 5, 6}
    assert torch.equal(record.tokens, batch.tokens)
    assert torch.equal(record.targets, batch.targets)


def test_sizes_are_uniform() -> None:
    record = drawn(0, Batch.dense(torch.randint(0, 40, (4000, 9))))
    counts = torch.bincount(record.order[:, 0], minlength=8)
    assert counts.tolist() == pytest.approx([500] * 8, abs=4 * (4000 / 8 * 7 / 8) ** 0.5)


def test_prefixes_of_one_token_are_next_token_prediction() -> None:
    batch, model = packed(4, 24), tiny_model()
    record = Prefixed(**batch.columns, order=batch.position)
    found, expected = Prefix(16).loss(model, record), NextToken(16).loss(model, batch)
    assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-5)
    assert found.weight.item() == expected.weight.item()


def test_a_prefix_seen_whole_tells_more() -> None:
    """The last prediction of each row depends on the order within the prefix only through positions: it changes."""
    batch, model = Batch.dense(torch.randint(0, 40, (3, 12))), tiny_model()
    whole = Prefixed(**batch.columns, order=torch.full_like(batch.tokens, 10))
    first = model.hidden(batch.tokens, Layout.of(batch.position, batch.segment, order=whole.order))[:, 0]
    changed = batch.tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % 40
    second = model.hidden(changed, Layout.of(batch.position, batch.segment, order=whole.order))[:, 0]
    assert (first - second).abs().max() > 1e-6
    causal = [model.hidden(t, Layout.of(batch.position, batch.segment))[:, 0] for t in (batch.tokens, changed)]
    assert torch.equal(*causal)
