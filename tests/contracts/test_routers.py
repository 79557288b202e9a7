"""Every router, inside a model: cached = whole, saved = loaded, tokens alone in evaluation, gradients everywhere."""

from __future__ import annotations

import pytest
import torch

from danlu import load, save
from danlu.nn.caches import CACHES
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.routers import ROUTERS

routers = pytest.mark.parametrize("name", list(ROUTERS))
DIMS = Dims(vocab=5, model=8, heads=1, layers=1, context=8)


def drawn(name: str, experts: int = 5) -> torch.nn.Module:
    router = ROUTERS[name](DIMS, experts)
    generator = torch.Generator().manual_seed(0)
    for parameter in router.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return router


@routers
@pytest.mark.parametrize("training", [False, True])
def test_choices_are_experts_or_none_with_weights_of_a_share(name, training) -> None:
    router, x = drawn(name).train(training), torch.randn(300, 8)
    routing = router(x, None, Layout.dense(x[None, :, 0]))
    assert routing.experts.shape == routing.weights.shape == (300, router.k)
    none = routing.experts == 5
    assert ((routing.experts >= 0) & (routing.experts <= 5)).all()
    assert router.skips or not none.any()
    assert (routing.weights[none] == 0).all()
    assert (routing.weights[~none] > 0).all()
    assert (routing.weights.sum(-1) <= 1 + 1e-6).all()
    pairs = routing.experts.sort(-1).values
    assert ((pairs[:, 1:] != pairs[:, :-1]) | (pairs[:, 1:] == 5)).all()  # nobody is visited twice


@routers
def test_tokens_are_routed_alone_in_evaluation(name) -> None:
    router, x = drawn(name).eval(), torch.randn(30, 8)
    layout = Layout.dense(x[None, :, 0])
    whole, part = router(x, None, layout), router(x[10:20], None, layout)
    assert torch.equal(whole.experts[10:20], part.experts)
    torch.testing.assert_close(whole.weights[10:20], part.weights)


@routers
def test_cached_equals_whole(name, newborn, tokens) -> None:
    model = newborn(ffn={"use": "moe", "experts": 4, "router": name, "capacity": 0.5})
    store = CACHES["slab"](model.dims, 2, 12)
    with torch.no_grad():
        parts = [model(tokens[:, i : i + 1], Layout.dense(tokens[:, i : i + 1], store, i)) for i in range(12)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-5, rtol=1e-5)


@routers
def test_saved_equals_loaded(name, newborn, tokens, tmp_path) -> None:
    model = newborn(ffn={"use": "moe", "experts": 4, "router": {"use": name, "z": 0.1}, "frozen": [1], "shared": 1})
    again, _ = load(save(model, None, tmp_path / "model"))
    assert again.recipe == model.recipe
    with torch.no_grad():
        assert torch.equal(again(tokens), model(tokens))


@routers
def test_every_parameter_learns_in_training(name, newborn, tokens) -> None:
    model = newborn(ffn={"use": "moe", "experts": 4, "router": {"use": name, "balance": 0.1, "z": 0.1}}).train()
    layout = Layout.dense(tokens)
    (model(tokens, layout).square().mean() + sum(layout.asides().values())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert all(value.ndim == 0 and not value.requires_grad for values in layout.told.values() for value in values)


@routers
def test_half_precision(name, newborn, tokens) -> None:
    model = newborn(ffn={"use": "moe", "experts": 4, "router": name}).bfloat16()
    with torch.no_grad():
        assert model(tokens).dtype == torch.bfloat16
        assert model(tokens).isfinite().all()
