"""Sites for adapters: registered, saved, moved, and silent about positions, masks, caches and kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stores import EXACT
from stores import store as stored
from torch import Tensor, nn

from danlu.nn.kernels import KERNELS
from danlu.nn.layout import Keys, Layout
from danlu.nn.positions import POSITIONS
from danlu.nn.sites import Entrance, KeySource, Switch

positions = pytest.mark.parametrize("position", list(POSITIONS))


class Prefix(KeySource):
    """Keys and values that every document sees: segment -1."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v = (nn.Parameter(torch.randn(3, 2, 8)) for _ in range(2))

    def forward(self, keys: Keys, x: Tensor, layout: Layout) -> Keys:
        rows = len(keys.k)
        at = keys.position.new_zeros(rows, 3)
        return Keys(
            torch.cat([self.k.expand(rows, -1, -1, -1), keys.k], 1),
            torch.cat([self.v.expand(rows, -1, -1, -1), keys.v], 1),
            torch.cat([at, keys.position], 1),
            torch.cat([at - 1, keys.segment], 1),
        )


class Shifted(Entrance):
    """An adapter of what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.randn(32))

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        return x + self.by, layout


def switch(model, name: str) -> Switch:
    """The model's switch, with one more that acts."""
    model.switch = model.switch or Switch()
    model.switch.active = tuple(dict.fromkeys([*model.switch.active, name]))
    return model.switch


@positions
@pytest.mark.parametrize("cache", EXACT)
def test_cached_equals_whole_with_adapters_at_every_site(position, cache, newborn, tokens) -> None:
    model = newborn(position=position)
    plain = model(tokens)
    torch.manual_seed(0)
    for block in model.blocks:
        block.sublayers.attention.kv.hang("prefix", Prefix(), switch(model, "prefix"))
    model.inputs.hang("shifted", Shifted(), switch(model, "shifted"))
    store = stored(cache, model.dims, 2, 12)
    with torch.no_grad():
        whole = model(tokens)
        parts = [model(tokens[:, a:b], Layout.dense(tokens[:, a:b], store, a)) for a, b in [(0, 7), (7, 8), (8, 12)]]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole, plain)


@positions
def test_packed_documents_see_the_prefix_but_not_each_other(position, newborn, tokens) -> None:
    model = newborn(position=position)
    torch.manual_seed(0)
    for block in model.blocks:
        block.sublayers.attention.kv.hang("prefix", Prefix(), switch(model, "prefix"))
    segment = torch.tensor([[1] * 5 + [2] * 7])
    where = Layout.of(torch.tensor([[*range(5), *range(7)]]), segment)
    with torch.no_grad():
        found = model(tokens[:1], where)
        alone = torch.cat([model(tokens[:1, :5]), model(tokens[:1, 5:])], 1)
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
        for block in model.blocks:
            block.sublayers.attention.kernels = (KERNELS["reference"](),)
        torch.testing.assert_close(model(tokens[:1], replace(where)), found, atol=1e-5, rtol=1e-5)


def test_adapters_are_parameters_of_the_model(newborn, tokens) -> None:
    model = newborn()
    for block in model.blocks:
        block.sublayers.attention.kv.hang("prefix", Prefix(), switch(model, "prefix"))
    model.inputs.hang("shifted", Shifted(), switch(model, "shifted"))
    names = {name for name, _ in model.named_parameters()}
    assert {"inputs.shifted.by", "blocks.1.sublayers.attention.kv.prefix.k"} <= names
    model(tokens).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.switch.active = ()
    assert torch.equal(model(tokens), newborn()(tokens))
    assert model.bfloat16().inputs["shifted"].by.dtype == torch.bfloat16


def test_a_kernel_is_chosen_by_the_recipe_and_a_refusal_falls_through(newborn, tokens) -> None:
    """A position that touches scores goes past the fused kernel to the reference."""
    from danlu.core.errors import ConfigError

    model = newborn(position="none")

    class Bias(type(model.position)):  # type: ignore[misc]
        def score(self, scores, q, layout, keys, allowed):
            return scores - (layout.position[:, :, None] - keys.position[:, None]).abs()[:, None]

    before = model(tokens)
    model.position.__class__ = Bias
    assert not torch.allclose(model(tokens), before)
    for block in model.blocks:
        block.sublayers.attention.kernels = block.sublayers.attention.kernels[:1]
    with pytest.raises(ConfigError, match="no attention kernel serves this model: sdpa: the position encoding changes"):
        model(tokens)
