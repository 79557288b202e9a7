"""Predicted bytes of generation beside those that torch's allocator saw, and the caches of other forms by hand."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from danlu.core.spec import Spec
from danlu.models import Architecture, Recipe, Stack, recipe_of
from danlu.nn.dims import Dims
from danlu.plan import allocating, inference

SIZES = {"vocab": 1024, "model": 192, "heads": 6, "kv_heads": 2, "layers": 3, "ffn": 512, "context": 256}


def newborn(name: str, **more: Any) -> Architecture:
    return recipe_of(Spec(name, {"model": 64, "layers": 2, "context": 128} | more), vocab=300)


def test_generation() -> None:
    """Weights are there before; copies, cache and logits come while it runs."""
    from danlu.infer.packed import Prepared
    from danlu.infer.runner import Runner

    recipe = Recipe(dims=Dims(**SIZES))
    model = Stack(recipe).eval()
    prompts, limit = [[1, 2, 3, 4] * 48] * 4, 64
    gc.collect()
    with allocating() as peak:
        runner = Runner(Prepared(model))
        logits = runner.start(prompts, limit)
        for _ in range(limit - 1):
            logits = runner.step(logits.argmax(-1))
    measured = peak.bytes_ + sum(p.nbytes for p in model.parameters())
    assert inference(recipe, rows=4, length=256, prompt=192).peak_bytes == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("name", ["t5", "transformer"])
def test_an_encoder_decoder_keeps_two_sides(name: str) -> None:
    """Keys and values of what it wrote and of what it looks at: 2 sides, 2 vectors, layers, tokens, channels."""
    cache = inference(newborn(name, heads=4), rows=1, length=64).phases["decode"]["kv cache"] - 16 * 64
    assert cache == 2 * 2 * 2 * 64 * 64 * 4


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_a_state_does_not_grow(cell: str) -> None:
    recipe = newborn("recurrent", cell=cell)
    one, more = (inference(recipe, rows=1, length=n, bytes_each=2).phases["decode"]["kv cache"] for n in (64, 128))
    assert more - one == 16 * 64, "only the places of tokens do"
    assert one - 16 * 64 == {"lstm": 2, "rnn": 1}[cell] * 2 * 64 * 2
