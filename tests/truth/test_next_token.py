"""NextToken against a hand-worked model of three tokens, and weights that say what counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from danlu.core.batch import IGNORE, Batch
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.objectives.next_token import NextToken


class Bigram(Model):
    """p(next | token) ∝ exp(table[token]): worked by hand below."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.dims = Dims(vocab=3, model=3, heads=1, layers=1, context=8)
        self.table = nn.Parameter(torch.tensor(table))
        self.head = nn.Identity()

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        return self.table[tokens]


def batch(tokens: list[int], targets: list[int], weight: list[float]) -> Batch:
    ids, wanted = torch.tensor([tokens]), torch.tensor([targets])
    return Batch(ids, wanted, torch.tensor([weight]), torch.ones_like(ids), torch.arange(len(tokens))[None])


def test_three_tokens_by_hand() -> None:
    """p(·|0) = (1/2, 1/4, 1/4), p(·|1) = (1/3, 1/3, 1/3): loss = 2·ln 4 + 0.5·ln 3 over weight 2.5."""
    model = Bigram([[math.log(2), 0, 0], [0, 0, 0], [9, 0, 0]])
    loss = NextToken().loss(model, batch([0, 1, 2], [1, 2, IGNORE], [2.0, 0.5, 0.0]))
    assert loss.total.item() == pytest.approx(2 * math.log(4) + 0.5 * math.log(3), rel=1e-6)
    assert loss.weight.item() == 2.5
    loss.total.backward()
    expected = torch.tensor([[2 * 0.5, 2 * (0.25 - 1), 2 * 0.25], [0.5 / 3, 0.5 / 3, 0.5 * (1 / 3 - 1)], [0, 0, 0]])
    torch.testing.assert_close(model.table.grad, expected)


def test_weight_zero_hides_a_target_entirely() -> None:
    model = Bigram([[0.3, 0.1, 0.2]] * 3)
    shown = NextToken().loss(model, batch([0, 1, 2], [1, 2, 0], [1.0, 0.0, 1.0]))
    ignored = NextToken().loss(model, batch([0, 1, 2], [1, IGNORE, 0], [1.0, 5.0, 1.0]))
    assert shown.total.item() == ignored.total.item()
    assert shown.weight.item() == ignored.weight.item() == 2.0


def test_the_head_sees_supervised_positions_only() -> None:
    seen = []
    model = Bigram([[0.3, 0.1, 0.2]] * 3)
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    NextToken().loss(model, batch([0, 1, 2, 0], [1, 2, 0, 0], [0.0, 1.0, 0.0, 1.0]))
    assert max(seen) == 2


@pytest.mark.parametrize("tied", [True, False])
def test_a_real_model_agrees_with_cross_entropy_on_its_logits(tied: bool) -> None:
    spec = Spec("llama", {"model": 32, "layers": 2, "heads": 4, "context": 16, "tied": tied})
    model = build(spec, vocab=50, seed=1)
    tokens = torch.randint(0, 50, (3, 17), generator=torch.Generator().manual_seed(0))
    dense = Batch.dense(tokens)
    NextToken(7).loss(model, dense).total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    whole = nn.functional.cross_entropy(model(dense.tokens).flatten(0, 1), dense.targets.flatten(), reduction="sum")
    whole.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=2e-5)
