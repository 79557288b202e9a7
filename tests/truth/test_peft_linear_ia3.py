"""IA3: the formulas in float64, where it acts, and weights that answer alone."""

from __future__ import annotations

import pytest
import torch
from train_tiny import tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.nn.linear import Linear
from danlu.nn.sites import Adapted, Switch
from danlu.peft.attached import attach
from danlu.peft.deltas import deltas_of
from danlu.peft.ia3 import ScaledInput, ScaledOutput


@pytest.mark.parametrize("kind", [ScaledInput, ScaledOutput])
def test_the_formulas(kind) -> None:
    torch.manual_seed(0)
    base = Linear(5, 4, axes=("a", "b"), bias=True).double()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter)
    delta = kind(base, "here").double()
    adapted, switch = Adapted(base), Switch()
    switch.active = ("one",)
    adapted.deltas.hang("one", delta, switch)
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    assert torch.equal(adapted(x), base(x))
    torch.nn.init.normal_(delta.scale)
    by_hand = {
        ScaledInput: lambda: (x * delta.scale) @ base.weight.t() + base.bias,
        ScaledOutput: lambda: delta.scale * (x @ base.weight.t() + base.bias),
    }[kind]()
    torch.testing.assert_close(adapted(x), by_hand)
    weight, bias = delta.merged(base.weight, base.bias)
    torch.testing.assert_close(x @ weight.t() + bias, by_hand)


def test_keys_values_and_the_inside_of_feed_forwards() -> None:
    model = tiny_model(kv_heads=2)
    attach(model, Spec("ia3"))
    found = {name.removeprefix("blocks.0.sublayers."): tuple(delta.scale.shape)
             for name, delta in deltas_of(model, "default").items() if name.startswith("blocks.0.")}  # fmt: skip
    inner = model.recipe.dims.ffn
    assert found == {"attention.k": (16,), "attention.v": (16,), "ffn.down": (inner,)}
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * (16 + 16 + inner)


def test_inputs_that_match_nothing_hang_nothing() -> None:
    model = tiny_model()
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(ConfigError, match="no linear map is named like 'fc2'; fc2 is called down here"):
        attach(model, Spec("ia3", {"inputs": "fc2"}))
    assert [name for name, _ in model.named_parameters()] == names
