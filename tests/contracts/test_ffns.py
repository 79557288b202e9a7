"""Every feed-forward."""

from __future__ import annotations

import pytest
import torch

from danlu.nn.dims import Dims
from danlu.nn.ffns import FFNS
from danlu.nn.layout import Layout
from danlu.nn.linear import Birth
from danlu.nn.remade import kept

DIMS = Dims(vocab=5, model=8, heads=2, layers=2, context=8, ffn=16)  # whole vectors: torch rounds rests otherwise
LAYOUT = Layout.dense(torch.ones(2, 3))
ffns = pytest.mark.parametrize("name", list(FFNS))


def drawn(name: str, **settings) -> torch.nn.Module:
    ffn = FFNS[name](DIMS, **settings).double()
    generator = torch.Generator().manual_seed(0)
    for module in ffn.modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.born(Birth(0.5, 1, generator))
    return ffn


@ffns
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_finite_differences(name, bias) -> None:
    ffn, x = drawn(name, bias=bias), torch.randn(2, 3, 8, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(lambda x, *_: ffn(x, LAYOUT), (x, *ffn.parameters()), fast_mode=True)


@ffns
def test_each_token_is_alone(name) -> None:
    ffn, x = drawn(name), torch.randn(2, 3, 8, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(ffn(x[:, 1:2], LAYOUT), ffn(x, LAYOUT)[:, 1:2])


@ffns
def test_what_is_remade_is_what_was_kept(name) -> None:
    ffn, x = drawn(name), torch.randn(2, 3, 8, dtype=torch.double)
    gradients = []
    for _ in range(2):
        ffn.zero_grad()
        ffn(x, LAYOUT).square().sum().backward()
        gradients.append([p.grad for p in ffn.parameters()])
        with kept():
            ffn.zero_grad()
            ffn(x, LAYOUT).square().sum().backward()
        gradients.append([p.grad for p in ffn.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.equal(a, b)


@ffns
def test_inference_equals_training(name) -> None:
    ffn, x = drawn(name), torch.randn(2, 3, 8, dtype=torch.double)
    with torch.no_grad():
        plain = ffn(x, LAYOUT)
    assert torch.equal(ffn(x, LAYOUT).detach(), plain)


@ffns
def test_in_a_model(name, newborn, tokens) -> None:
    model = newborn(ffn=name)
    model(tokens).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
