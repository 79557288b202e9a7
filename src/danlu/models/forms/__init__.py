"""Forms of models: stacks, encoder-decoders and others, each with the recipe that it is built from."""

from __future__ import annotations

from typing import Any

from ...core.registry import Registry
from ...nn.model import Model
from ..recipe import Architecture

MODELS: Registry[type[Model]] = Registry("model", Model, __name__)


def made(recipe: Architecture) -> Model:
    """The model of a recipe, its parameters not yet drawn."""
    return MODELS[recipe.form](recipe)


def recipe_from(raw: dict[str, Any], where: str) -> Architecture:
    """What ``recipe.write()`` answered, of any form; raises ConfigError naming the first key that does not fit."""
    values = dict(raw)
    form = MODELS[str(values.pop("form", "stack"))]
    return form.reads.read(values, where)
