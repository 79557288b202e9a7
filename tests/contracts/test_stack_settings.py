"""Shared layers, narrow, scaled and typed embeddings: what holds for a plain stack holds with each and with all."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from stores import EXACT, part
from torch import Tensor

from danlu.core.spec import Spec
from danlu.infer.packed import packed
from danlu.models import Recipe, Stack, load, save
from danlu.models.newborn import empty
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.plan import parameters

DIMS = Dims(vocab=50, model=32, layers=5, heads=4, kv_heads=2, context=32, ffn=24)
NARROW = {"embed": 12, "head": Spec("transform", {"eps": 1e-5})}
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "groups of layers": {"distinct": 2},
    "one layer": {"distinct": 1},
    "narrow": NARROW,
    "narrow and untied": {**NARROW, "tied": False},
    "scaled": {"embed_scale": math.sqrt(32)},
    "typed": {"token_types": 3},
    "normalized": {"embed_norm": Spec("layer")},
    "learned positions of a narrow embedding": {**NARROW, "position": Spec("learned", {"offset": 2})},
    "all": {
        **NARROW, "distinct": 3, "embed_scale": 2.0, "token_types": 2, "embed_norm": Spec("layer"),
        "pooler": Spec("first"), "classes": 3,
    },
}  # fmt: skip
settings = pytest.mark.parametrize("name", SETTINGS)
TOKENS = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
TYPES = torch.randint(0, 2, (2, 12), generator=torch.Generator().manual_seed(2))


def recipe_of(name: str) -> Recipe:
    return Recipe(dims=DIMS, **SETTINGS[name])


def drawn(name: str) -> Stack:
    model = empty(recipe_of(name))
    generator = torch.Generator().manual_seed(3)
    for key, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in key), std=0.2, generator=generator)
    assert isinstance(model, Stack)
    return model.eval()


def asked(model: Stack, tokens: Tensor = TOKENS, **where: Any) -> Tensor:
    return model(tokens, replace(Layout.dense(tokens, **where), token_type=TYPES[:, : tokens.shape[1]]))


def closed_form(recipe: Recipe) -> int:
    """Two tables, their norm, the way to the model's width; each distinct block once; the ends."""
    width, model, vocab = recipe.embed or 32, 32, 50
    tables = (vocab + recipe.token_types) * width + (34 * width if recipe.position.use == "learned" else 0)
    entry = tables + (2 * width if recipe.embed_norm else 0) + ((width + 1) * model if recipe.embed else 0)
    block = 2 * model * model + 2 * 16 * model + 3 * 24 * model + 2 * model
    head = (model + 1) * width + 2 * width + vocab if recipe.embed else 0
    table = 0 if recipe.tied else vocab * width
    classes = (model + 1) * model + (model + 1) * recipe.classes if recipe.classes else 0
    return entry + (recipe.distinct or 5) * block + model + head + table + classes


@settings
def test_parameters_are_counted_in_closed_form(name) -> None:
    recipe, sizes = recipe_of(name), parameters(recipe_of(name))
    assert sum(p.numel() for p in drawn(name).parameters()) == sizes.total == closed_form(recipe)
    assert sizes.block == 2 * 32 * 32 + 2 * 16 * 32 + 3 * 24 * 32 + 2 * 32
    assert sizes.head_weights == (12 * 32 + 12 * 50 if recipe.embed else 32 * 50)
    assert sizes.kinds["attention"] == (recipe.distinct or 5) * (2 * 32 * 32 + 2 * 16 * 32)
    assert sizes.kinds["ffn"] == (recipe.distinct or 5) * 3 * 24 * 32


@settings
def test_saved_equals_loaded(name, tmp_path) -> None:
    model = drawn(name)
    again, _ = load(save(model, None, tmp_path / "model"))
    assert again.recipe == model.recipe
    with torch.no_grad():
        assert torch.equal(asked(again), asked(model))


@settings
def test_what_is_one_stays_one_when_moved(name) -> None:
    model = drawn(name).bfloat16()
    recipe = model.recipe
    assert (model.head.table.weight is model.embed.weight) == recipe.tied
    for layer, block in enumerate(model.blocks):
        first = model.blocks[recipe.twin(layer)]
        assert all(a is b for a, b in zip(block.parameters(), first.parameters(), strict=True))
    assert len({id(block.sublayers.ffn.up.weight) for block in model.blocks}) == (recipe.distinct or 5)
    assert asked(model).dtype == torch.bfloat16


@settings
@pytest.mark.parametrize("cache", EXACT)
def test_cached_equals_whole(name, cache) -> None:
    """Layers that share weights have keys of their own."""
    model = drawn(name)
    kept = model.cache(part(cache), 2, 12, torch.float32, torch.device("cpu"))
    parts = []
    with torch.no_grad():
        for start, stop in ((0, 5), (5, 6), (6, 12)):
            where = replace(Layout.dense(TOKENS[:, start:stop], kept, start), token_type=TYPES[:, start:stop])
            parts.append(model(TOKENS[:, start:stop], where))
        torch.testing.assert_close(torch.cat(parts, 1), asked(model), atol=1e-5, rtol=1e-5)


@settings
def test_packed_equals_separate(name) -> None:
    model = drawn(name)
    segment = torch.tensor([[1] * 7 + [2] * 5, [1] * 4 + [2] * 6 + [0] * 2])
    position = torch.tensor([[*range(7), *range(5)], [*range(4), *range(6), 0, 0]])
    where = Layout.of(position, segment, token_type=TYPES)
    with torch.no_grad():
        packed = model(TOKENS, where)
        for row, start, stop in where.spans or ():
            here = TOKENS[row : row + 1, start:stop]
            alone = model(here, replace(Layout.dense(here), token_type=TYPES[row : row + 1, start:stop]))
            torch.testing.assert_close(packed[row : row + 1, start:stop], alone, atol=1e-5, rtol=1e-5)


@settings
def test_recomputed_blocks_give_equal_gradients(name) -> None:
    model, found = drawn(name).train(), []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        asked(model).square().mean().backward()
        found.append({key: parameter.grad for key, parameter in model.named_parameters()})
    for key, gradient in found[0].items():
        if gradient is None:
            assert found[1][key] is None
            assert key.startswith(("pooler.", "classify."))  # no token's score depends on them
        else:
            torch.testing.assert_close(found[1][key], gradient, atol=1e-6, rtol=1e-5)


@settings
@pytest.mark.parametrize("rows", [1, 4])
def test_laid_out_for_decoding_it_answers_the_same(name, rows) -> None:
    """Maps that are joined for speed leave the layers that share them what they are."""
    model = drawn(name)
    with torch.no_grad():
        expected = asked(model)
        torch.testing.assert_close(asked(packed(model, rows)[0]), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(asked(model), expected)
