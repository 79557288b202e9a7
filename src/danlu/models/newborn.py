"""Newborn models: from an architecture's settings to drawn weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from ..core.errors import ConfigError
from ..core.rng import generator
from ..core.spec import Spec
from ..nn.linear import Birth
from ..nn.model import Model
from ..nn.wirings import Wiring
from .families import FAMILIES
from .forms import made
from .recipe import Architecture


def recipe_of(architecture: Spec, *, vocab: int) -> Architecture:
    """The recipe of ``{use: llama, model: 256, layers: 4, …}``.

    Raises: ConfigError for an unknown setting, or for a recipe that its family could not be saved with.
    """
    recipe: Architecture = architecture.build(FAMILIES, vocab, where="architecture")
    try:
        FAMILIES[recipe.family].published.write(recipe)
    except ConfigError as error:
        raise ConfigError(f"architecture: {error}") from None
    return recipe


def on_meta(recipe: Architecture) -> Model:
    """The model without memory for its weights: shapes and counts of any size in milliseconds."""
    with torch.device("meta"):
        return made(recipe).eval()


def empty(recipe: Architecture, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Model:
    """The model with memory for its weights and nothing in it."""
    model = on_meta(recipe)
    return (model if dtype is None else model.to(dtype)).to_empty(device=device or "cpu")


def build(architecture: Spec, *, vocab: int, seed: int = 0, device: torch.device | str | None = None) -> Model:
    """A newborn model: every parameter drawn from its own stream of ``seed``, the same on every device."""
    recipe = recipe_of(architecture, vocab=vocab)
    model = empty(recipe)
    with torch.no_grad():
        for name, module in model.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                birth = Birth(recipe.std, recipe.dims.layers, generator(seed, "birth", name))
                cast("_Born", module).born(birth)
        for name, module in model.named_modules():
            if isinstance(module, Wiring):
                module.born(Birth(recipe.std, recipe.dims.layers, generator(seed, "birth", name)))
    return model.to(device or "cpu")


class _Born(nn.Module):
    """A module with parameters of its own knows how they are drawn."""

    def born(self, birth: Birth) -> None: ...
