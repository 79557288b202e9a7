"""Wirings against the recursion by hand, on sublayers of one number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from danlu.nn.layout import Layout
from danlu.nn.wirings.post import PostNorm
from danlu.nn.wirings.pre import PreNorm

LAYOUT = Layout.dense(torch.ones(1, 1))


class Times(nn.Module):
    """A sublayer that multiplies, and a norm that does too."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return x * self.factor


def test_pre_adds_what_sublayers_make_of_normalized_copies() -> None:
    block = PreNorm({"a": Times(3.0), "b": Times(5.0)}, lambda: Times(0.5))
    x = 2.0
    x = x + 3.0 * (0.5 * x)
    x = x + 5.0 * (0.5 * x)
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == x


def test_post_normalizes_the_sum() -> None:
    block = PostNorm({"a": Times(3.0), "b": Times(5.0)}, lambda: Times(0.5))
    x = 2.0
    x = 0.5 * (x + 3.0 * x)
    x = 0.5 * (x + 5.0 * x)
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == x


def test_adapters_act_on_the_branch_in_order() -> None:
    class Bend(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return y + 10 * x

    block = PreNorm({"a": Times(3.0)}, lambda: Times(0.5))
    block.branch["a"]["bend"] = Bend()
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == 2.0 + (3.0 * 1.0 + 10 * 1.0)


def test_dropout_is_on_branches_in_training_only() -> None:
    block = PreNorm({"a": Times(3.0)}, lambda: Times(0.5), 0.5)
    x = torch.ones(1, 1, 1000)
    torch.manual_seed(0)
    trained = block(x, LAYOUT)
    assert set(trained.unique().tolist()) == {1.0, 4.0}  # the branch is dropped, or doubled
    assert abs(trained.mean().item() - 2.5) < 0.2
    assert set(block.eval()(x, LAYOUT).unique().tolist()) == {2.5}
