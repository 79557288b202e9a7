"""Every head and every pooler: shapes, what they must not hear, gradients, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.heads import HEADS
from danlu.nn.linear import Linear
from danlu.nn.poolers import POOLERS

DIMS = Dims(vocab=11, model=6, heads=2, layers=1, context=8)
heads = pytest.mark.parametrize("name", list(HEADS))
poolers = pytest.mark.parametrize("name", list(POOLERS))
HIDDEN = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SEGMENT = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def drawn(module: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return module.double()


@heads
def test_scores_whatever_stands_before_the_last_axis(name) -> None:
    head = drawn(HEADS[name](DIMS, 6))
    whole = head(HIDDEN)
    assert whole.shape == (2, 5, 11)
    torch.testing.assert_close(head(HIDDEN.flatten(0, 1)), whole.flatten(0, 1))
    torch.testing.assert_close(head(HIDDEN[0, 3]), whole[0, 3])


@heads
def test_its_table_has_a_row_a_token_and_decides_the_scores(name) -> None:
    head = drawn(HEADS[name](DIMS, 6))
    assert isinstance(head.table, Linear)
    assert head.table.weight.shape == (11, 6)
    assert head.table.axes[0] == "vocab"
    before = head(HIDDEN)
    with torch.no_grad():
        head.table.weight[4] += 1
    changed = (head(HIDDEN) != before).flatten(0, 1).any(0)
    assert changed.tolist() == [token == 4 for token in range(11)]


@heads
def test_narrow_token_vectors_are_served_or_refused(name) -> None:
    refusal = ""
    try:
        head = drawn(HEADS[name](DIMS, 4))
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert "4 wide" in refusal
    else:
        assert head(HIDDEN).shape == (2, 5, 11)
        assert head.table.weight.shape == (11, 4)


@heads
def test_the_gradient_of_a_head_by_finite_differences(name) -> None:
    head = drawn(HEADS[name](DIMS, 6))
    assert torch.autograd.gradcheck(head, (HIDDEN[:1, :2].clone().requires_grad_(),))


@poolers
def test_one_vector_a_document(name) -> None:
    pooler = drawn(POOLERS[name](DIMS))
    pooled = pooler(HIDDEN, SEGMENT)
    assert pooled.shape == (2, 6)
    for row in range(2):
        torch.testing.assert_close(pooler(HIDDEN[row : row + 1], SEGMENT[row : row + 1]), pooled[row : row + 1])


@poolers
def test_padding_is_not_heard_wherever_it_stands(name) -> None:
    pooler = drawn(POOLERS[name](DIMS))
    pooled, other = pooler(HIDDEN, SEGMENT), HIDDEN.clone()
    other[SEGMENT == 0] = 1e6
    assert torch.equal(pooler(other, SEGMENT), pooled)
    torch.testing.assert_close(pooler(other.roll(2, 1)[:1], SEGMENT.roll(2, 1)[:1]), pooled[:1])


@poolers
def test_the_gradient_of_a_pooler_by_finite_differences(name) -> None:
    pooler = drawn(POOLERS[name](DIMS))
    assert torch.autograd.gradcheck(lambda x: pooler(x, SEGMENT), (HIDDEN.clone().requires_grad_(),))


@pytest.mark.parametrize(("registry", "name"), [(HEADS, n) for n in HEADS] + [(POOLERS, n) for n in POOLERS])
def test_precision_is_kept(registry, name) -> None:
    """Registered parts take half precision in and give it back."""
    given = (DIMS, 6) if registry is HEADS else (DIMS,)
    part, more = drawn(registry[name](*given)).bfloat16(), () if registry is HEADS else (SEGMENT,)
    assert part(HIDDEN.bfloat16(), *more).dtype == torch.bfloat16
