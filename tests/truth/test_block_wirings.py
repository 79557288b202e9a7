"""Wirings against the recursion by hand, on sublayers of one number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.layout import Layout
from danlu.nn.sites import Branch, Switch
from danlu.nn.wirings.deep import DeepNorm
from danlu.nn.wirings.parallel import Parallel
from danlu.nn.wirings.post import PostNorm
from danlu.nn.wirings.pre import PreNorm
from danlu.nn.wirings.sandwich import Sandwich

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
    class Bend(Branch):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return y + 10 * x

    block = PreNorm({"a": Times(3.0)}, lambda: Times(0.5))
    switch = Switch()
    switch.active = ("bend",)
    block.branch["a"].hang("bend", Bend(), switch)
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == 2.0 + (3.0 * 1.0 + 10 * 1.0)


def test_dropout_is_on_branches_in_training_only() -> None:
    block = PreNorm({"a": Times(3.0)}, lambda: Times(0.5), 0.5)
    x = torch.ones(1, 1, 1000)
    torch.manual_seed(0)
    trained = block(x, LAYOUT)
    assert set(trained.unique().tolist()) == {1.0, 4.0}  # the branch is dropped, or doubled
    assert abs(trained.mean().item() - 2.5) < 0.2
    assert set(block.eval()(x, LAYOUT).unique().tolist()) == {2.5}


class Counting:
    """Makes norms that multiply by 0.5, 0.25, 0.125 … in the order in which they are asked for."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> nn.Module:
        self.made += 1
        return Times(0.5**self.made)


def test_sandwich_normalizes_before_and_after_each_sublayer() -> None:
    block = Sandwich({"a": Times(3.0), "b": Times(5.0)}, Counting())
    x = 2.0
    x = x + 0.125 * (3.0 * (0.5 * x))  # the norms before are made first: 0.5, 0.25, then those after: 0.125, 0.0625
    x = x + 0.0625 * (5.0 * (0.25 * x))
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == x


def test_parallel_adds_all_answers_to_one_normalized_copy() -> None:
    block = Parallel({"a": Times(3.0), "b": Times(5.0)}, Counting())
    assert list(block.norms) == ["a"]
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == 2.0 + 3.0 * (0.5 * 2.0) + 5.0 * (0.5 * 2.0)


def test_parallel_with_a_norm_for_each() -> None:
    block = Parallel({"a": Times(3.0), "b": Times(5.0)}, Counting(), shared=False)
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == 2.0 + 3.0 * (0.5 * 2.0) + 5.0 * (0.25 * 2.0)


@pytest.mark.parametrize("layers", [1, 6, 1000])
def test_deep_scales_the_stream_before_it_normalizes_the_sum(layers) -> None:
    block = DeepNorm({"a": Times(3.0), "b": Times(5.0)}, lambda: Times(0.5), 0.0, layers)
    alpha, x = (2 * layers) ** 0.25, 2.0
    x = 0.5 * (alpha * x + 3.0 * x)
    x = 0.5 * (alpha * x + 5.0 * x)
    assert block(torch.tensor([[[2.0]]]), LAYOUT).item() == pytest.approx(x, rel=1e-6)


SELF, CROSS = ("attention", "ffn"), ("attention", "cross", "ffn")
TABLE = [
    # sublayers, blocks, blocks of the decoder that reads it, α, β: DeepNet, figure 2
    (SELF, 12, 0, 24**0.25, 96**-0.25),
    (SELF, 100, 0, 200**0.25, 800**-0.25),
    (CROSS, 6, 0, 18**0.25, 72**-0.25),
    (SELF, 18, 6, 0.81 * (18**4 * 6) ** (1 / 16), 0.87 * (18**4 * 6) ** (-1 / 16)),
]


@pytest.mark.parametrize(("names", "layers", "decoder", "alpha", "beta"), TABLE)
def test_the_constants_of_deep_are_those_of_the_table(names, layers, decoder, alpha, beta) -> None:
    block = DeepNorm({name: Times(1.0) for name in names}, lambda: Times(1.0), 0.0, layers, decoder=decoder)
    assert (block.alpha, block.beta) == pytest.approx((alpha, beta))
    with pytest.raises(ConfigError, match="how many blocks look at this encoder"):
        DeepNorm({"a": Times(1.0)}, lambda: Times(1.0), decoder=-1)


@pytest.mark.parametrize("ffn", ["gelu", {"use": "moe", "experts": 4, "expert": "gelu"}])
def test_deep_is_born_as_xavier_with_smaller_values_and_feed_forwards(ffn) -> None:
    sizes = {"model": 64, "layers": 8, "heads": 4, "context": 8, "width": 128, "ffn": ffn, "bias": True}
    model, beta = build(Spec("decoder", {**sizes, "wiring": "deep"}), vocab=20), 64**-0.25
    for block in model.blocks:
        attention, fed = block.sublayers.attention, block.sublayers.ffn
        for name, gain in (("q", 1.0), ("k", 1.0), ("v", beta), ("o", beta)):
            std = gain * math.sqrt(2 / (64 + 64))
            assert getattr(attention, name).weight.std().item() == pytest.approx(std, rel=0.05), name
            assert not getattr(attention, name).bias.any()
        for stack in (fed.up, fed.down):
            assert stack.weight.std().item() == pytest.approx(beta * math.sqrt(2 / (64 + 128)), rel=0.05)
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("layers", [4, 24, 96])
def test_a_deep_stack_at_birth_passes_gradients_evenly(layers) -> None:
    """The gradient of the first block is of the size of the last one's at any depth."""
    sizes = {"model": 32, "layers": layers, "heads": 2, "context": 16, "norm": "layer", "ffn": "relu"}
    model = build(Spec("decoder", {**sizes, "wiring": "deep"}), vocab=20)
    tokens = torch.randint(0, 20, (4, 16), generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
    first, last = (model.blocks[i].sublayers["ffn"].up.weight.grad.norm().item() for i in (0, -1))
    assert 0.5 < first / last < 2
