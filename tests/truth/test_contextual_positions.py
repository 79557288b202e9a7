"""CoPE against loops over Python floats, and as the counting of tokens that it becomes when all gates are open."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.kernels import Ask, attend
from danlu.nn.kernels.reference import Reference
from danlu.nn.kernels.sdpa import Sdpa
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks.causal import Causal
from danlu.nn.positions.cope import Cope

DIMS = Dims(vocab=9, model=8, heads=2, layers=1, context=12)


def question(positions: int = 4) -> tuple[Cope, Tensor, Keys, Layout]:
    torch.manual_seed(0)
    cope = Cope(DIMS, positions=positions).double()
    torch.nn.init.normal_(cope.table.weight)
    q, k = torch.randn(2, 1, 6, 2, 4, dtype=torch.double)
    layout = Layout.dense(torch.zeros(1, 6))
    return cope, q, Keys(k, k, layout.position, layout.segment), layout


@pytest.mark.parametrize("blind", [[], [2], [0, 3]])
def test_the_formula_key_by_key(blind) -> None:
    cope, q, keys, layout = question()
    allowed = torch.ones(6, 6, dtype=torch.bool).tril()
    allowed[:, blind] = False
    scores = torch.randn(1, 2, 6, 6, dtype=torch.double)
    found = cope.score(scores, q, layout, keys, allowed[None])
    for h in range(2):
        for i in range(6):
            vectors = [sum(q[0, i, h, d].item() * e[d].item() for d in range(4)) / 2 for e in cope.table.weight]
            for j in range(6):
                gates = [1 / (1 + math.exp(-scores[0, h, i, k])) for k in range(j, 6) if allowed[i, k]]
                count = min(sum(gates), 3.0)
                low = min(int(count), 2)
                between = vectors[low] + (vectors[low + 1] - vectors[low]) * (count - low)
                assert found[0, h, i, j].item() == pytest.approx(scores[0, h, i, j].item() + between, abs=1e-9)


def test_open_gates_count_tokens() -> None:
    cope, q, keys, layout = question(positions=12)
    allowed = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    added = cope.score(torch.full((1, 2, 6, 6), 50.0).double(), q, layout, keys, allowed) - 50
    for i in range(6):
        for j in range(i + 1):
            expected = (q[0, i] * cope.table.weight[i - j + 1]).sum(-1) / 2
            torch.testing.assert_close(added[0, :, i, j], expected)


def test_shut_gates_leave_every_key_at_position_zero() -> None:
    cope, q, keys, layout = question()
    allowed = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    added = cope.score(torch.full((1, 2, 6, 6), -60.0).double(), q, layout, keys, allowed) + 60
    expected = torch.einsum("bthd,d->bht", q, cope.table.weight[0])[..., None] / 2
    torch.testing.assert_close(added, expected.expand_as(added))


def test_gradients_reach_the_table_the_queries_and_the_gates() -> None:
    cope, q, keys, layout = question()
    allowed = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    scores = torch.randn(1, 2, 6, 6, dtype=torch.double, requires_grad=True)
    table, q = cope.table.weight, q.requires_grad_()

    def call(scores: Tensor, q: Tensor, table: Tensor) -> Tensor:
        cope.table._parameters["weight"] = table  # type: ignore[assignment]
        return cope.score(scores, q, layout, keys, allowed)

    assert torch.autograd.gradcheck(call, (scores, q, table.detach().requires_grad_()))


def test_only_the_reference_kernel_serves_it_and_others_say_why() -> None:
    cope, q, keys, layout = question()
    ask = Ask(q.float(), Keys(keys.k.float(), keys.v.float(), keys.position, keys.segment), layout, Causal(), cope)
    assert attend(ask, [Sdpa(), Reference()]).shape == q.shape
    with pytest.raises(ConfigError, match="sdpa: the position encoding changes scores"):
        attend(ask, [Sdpa()])


def test_a_single_position_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 positions apart, found positions = 1"):
        Cope(DIMS, positions=1)
