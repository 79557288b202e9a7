"""Every wiring: cached = whole, adapters at the site "branch", gradients through every sublayer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.nn.caches import CACHES
from danlu.nn.layout import Layout
from danlu.nn.sites import Branch, Switch
from danlu.nn.wirings import WIRINGS

wirings = pytest.mark.parametrize("wiring", list(WIRINGS))


@wirings
def test_cached_equals_whole(wiring, newborn, tokens) -> None:
    model = newborn(wiring=wiring)
    store = CACHES["slab"](model.dims, 2, 12)
    with torch.no_grad():
        parts = [model(tokens[:, i : i + 1], Layout.dense(tokens[:, i : i + 1], store, i)) for i in range(12)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-5, rtol=1e-5)


@wirings
def test_every_parameter_learns(wiring, newborn, tokens) -> None:
    model = newborn(wiring=wiring)
    model(tokens).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@wirings
def test_what_is_remade_is_what_was_kept(wiring, newborn, tokens) -> None:
    from danlu.nn.remade import kept

    model, gradients = newborn(wiring=wiring), []
    for _ in range(2):
        model.zero_grad()
        model(tokens).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
        with kept():
            model.zero_grad()
            model(tokens).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.equal(a, b)


class Shift(Branch):
    """An adapter at the site "branch"."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(32))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y + self.by


@wirings
def test_adapters_on_branches_are_registered_and_silent_at_zero(wiring, newborn, tokens) -> None:
    model = newborn(wiring=wiring)
    before = model(tokens)
    adapter = Shift()
    switch = Switch()
    switch.active = ("shift",)
    model.blocks[1].branch["ffn"].hang("shift", adapter, switch)
    torch.testing.assert_close(model(tokens), before)
    assert any(p is adapter.by for p in model.parameters())
    nn.init.normal_(adapter.by)
    assert not torch.allclose(model(tokens), before)
