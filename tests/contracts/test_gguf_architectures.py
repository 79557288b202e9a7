"""Every family against every architecture of llama.cpp: refused with a reason, or told whole."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.core.spec import Spec, settings_of
from danlu.models import on_meta, recipe_of
from danlu.models.families import FAMILIES
from danlu.models.gguf.architectures import ARCHITECTURES
from danlu.models.gguf.reading import entries_of
from danlu.models.recipe import Recipe
from danlu.models.weights import stored

SIZES = {
    "model": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32, "head": 8, "width": 48, "window": 6, "image": 16,
    "patch": 4, "classes": 5,
}  # fmt: skip
KINDS = (str, bool, int, float, list)


def newborn(name: str) -> Any:
    known = settings_of(FAMILIES[name])
    return recipe_of(Spec(name, {key: value for key, value in SIZES.items() if key in known}), vocab=64)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_is_refused_with_a_reason_or_told_whole(family: str, name: str) -> None:
    recipe, architecture = newborn(family), ARCHITECTURES[name]()
    if not isinstance(recipe, Recipe):
        return
    if reason := architecture.refuses(recipe):
        assert len(reason) > 10
        return
    model = on_meta(recipe)
    entries = entries_of(model, architecture)  # which holds every parameter, or is a fault of ours
    names = [entry.name for entry in entries]
    assert len(names) == len(set(names))
    parameters = stored(model)
    assert all(1 <= len(entry.shape([part.shape for part in entry.of(parameters)])) <= 4 for entry in entries)
    fields = architecture.fields(recipe)
    assert all(type(value) in KINDS for value in fields.values())
    assert fields["block_count"] == recipe.dims.layers
    assert fields["context_length"] <= recipe.dims.context


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_architecture_has_a_family_of_its_own(name: str) -> None:
    assert ARCHITECTURES[name]().refuses(newborn(name)) is None
