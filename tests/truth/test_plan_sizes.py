"""Parameter counts against published ones and the closed form; no weight is allocated."""

from __future__ import annotations

import pytest

from danlu.core.spec import Spec
from danlu.models import Architecture, on_meta, recipe_of
from danlu.models.families import FAMILIES
from danlu.models.tour import example
from danlu.plan import parameters
from danlu.plan.sizes import gpt2_parameters


def gpt2(layers: int, model: int, heads: int, vocab: int = 50257, context: int = 1024) -> Architecture:
    return recipe_of(Spec("gpt2", {"model": model, "layers": layers, "heads": heads, "context": context}), vocab=vocab)


@pytest.mark.parametrize(
    ("layers", "model", "heads", "context", "published"),
    [(12, 768, 12, 1024, 124_439_808), (36, 1280, 20, 1024, 774_030_080), (48, 1600, 25, 1024, 1_557_611_200), (96, 12288, 96, 2048, 174_604_259_328)],
    ids=["GPT-2", "GPT-2 large", "GPT-2 XL", "GPT-3"],
)  # fmt: skip
def test_gpt2_by_construction_and_by_formula(layers: int, model: int, heads: int, context: int, published: int) -> None:
    assert parameters(gpt2(layers, model, heads, context=context)).total == published
    assert gpt2_parameters(layers=layers, model=model, vocab=50257, context=context) == published


def test_llama_by_hand() -> None:
    """LLaMA 7B from its shapes: 32 blocks of four 4096² and three 4096 × 11008, two tables, 65 norms."""
    spec = Spec("llama", {"model": 4096, "layers": 32, "heads": 32, "ffn": 11008, "context": 2048})
    sizes = parameters(recipe_of(spec, vocab=32000))
    assert sizes.kinds["attention"] == 32 * 4 * 4096**2
    assert sizes.kinds["ffn"] == 32 * 3 * 4096 * 11008
    assert sizes.kinds["embedding"] == sizes.kinds["head"] == 32000 * 4096
    assert sizes.kinds["norms"] == 65 * 4096
    assert sizes.total == 6_738_415_616
    assert sizes.without_embedding == sizes.total - 2 * 32000 * 4096
    assert sizes.block_weights == 4 * 4096**2 + 3 * 4096 * 11008


def test_a_tied_head_is_counted_once_but_still_multiplied() -> None:
    settings = {"model": 64, "layers": 1, "heads": 4, "context": 32}
    tied, untied = (parameters(recipe_of(Spec("llama", {**settings, "tied": t}), vocab=100)) for t in (True, False))
    assert untied.total - tied.total == 64 * 100
    assert tied.kinds["head"] == 0
    assert tied.head_weights == untied.head_weights == 6400


def test_every_parameter_is_of_one_kind() -> None:
    model = on_meta(gpt2(2, 64, 4))
    assert sum(parameters(model.recipe).kinds.values()) == sum(p.numel() for p in model.parameters())
    assert parameters(model.recipe).kinds["other"] == 0


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_is_counted_by_kinds(family: str) -> None:
    """Each parameter once; one token takes part in no more; blocks are what they are in the model."""
    recipe = recipe_of(Spec(family, example(FAMILIES[family])), vocab=500)
    sizes, model = parameters(recipe), on_meta(recipe)
    assert sizes.total == sum(p.numel() for p in model.parameters())
    assert 0 < sizes.active <= sizes.total
    assert sizes.block_weights > 0
    assert sizes.kinds["embedding"] > 0


def test_an_albert_by_hand() -> None:
    """Four layers that are one, a head of two products over narrow token vectors."""
    sizes = parameters(
        recipe_of(Spec("albert", {"model": 64, "layers": 4, "heads": 4, "context": 32, "embed": 16}), vocab=100)
    )
    assert sizes.kinds["attention"] == 4 * 64**2 + 4 * 64
    assert sizes.kinds["ffn"] == 8 * 64**2 + 5 * 64
    assert sizes.kinds["embedding"] == (100 + 32 + 2) * 16 + 17 * 64
    assert sizes.kinds["norms"] == 2 * 16 + 4 * 64
    assert sizes.kinds["head"] == 65 * 16 + 2 * 16 + 100
    assert sizes.kinds["other"] == 64**2 + 64 + 2 * 65
    assert (sizes.distinct, sizes.attentions) == (1, 4)
    assert sizes.block == 12 * 64**2 + 13 * 64
    assert sizes.block_weights == 12 * 64**2
    assert sizes.head_weights == 16 * 64 + 100 * 16


def test_both_sides_of_a_t5_by_hand() -> None:
    """Two encoder blocks of 4 · 64² + 2 · 64 · 256, two decoder blocks with cross-attention besides."""
    sizes = parameters(recipe_of(Spec("t5", {"model": 64, "layers": 2, "heads": 4}), vocab=100))
    assert sizes.kinds["attention"] == 2 * (4 + 8) * 64**2
    assert sizes.kinds["ffn"] == 4 * 2 * 64 * 256
    assert sizes.kinds["embedding"] == 100 * 64 + 2 * 32 * 4
    assert sizes.kinds["norms"] == (2 * 2 + 2 * 3 + 2) * 64
    assert sizes.block_weights == (4 + 8) * 64**2 + 2 * 2 * 64 * 256
    assert (sizes.distinct, sizes.attentions) == (4, 6)
