"""The same weights with another encoding of positions: longer texts, or another scaling, for a model that exists."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..core.errors import ConfigError
from ..core.spec import Spec, settings_of
from ..nn.model import Model
from ..nn.scalings import SCALINGS
from ..nn.storages import Stored
from ..nn.storages import replace as replace_map
from .newborn import empty
from .recipe import Architecture, Recipe


def repositioned(model: Model, position: Spec | None, *, context: int | None = None) -> Model:
    """A copy that encodes positions as ``moved`` says.

    Raises: ConfigError if the model is no stack, or the encoding has weights that the model has not learned.
    """
    recipe = moved(model.recipe, position, context)
    twin = empty(recipe, dtype=model.embed.weight.dtype, device=model.embed.weight.device)
    for name, part in model.named_modules(remove_duplicate=False):
        if isinstance(part, Stored):
            replace_map(twin, name, part)
    learned = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name not in learned or learned[name].shape != parameter.shape:
                raise ConfigError(
                    f"position {recipe.position.use!r} needs the weight {name!r} of shape {list(parameter.shape)}, "
                    "which this model has not learned; choose an encoding without weights of its own, or train a new "
                    "model with it"
                )
            parameter.copy_(learned[name])
    twin.notes = model.notes
    return twin.train(model.training)


def moved(recipe: Architecture, position: Spec | None, context: int | None = None) -> Recipe:
    """The recipe with another encoding of positions, and a context of so many tokens (its own unless given).

    Settings left out stay what they are where the encoding stays the same (a long base is not lost by naming a
    scaling); a scaling that begins at an ``original`` length begins at the recipe's context unless it says otherwise.
    Raises: ConfigError if the recipe is no stack's.
    """
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            f"position: only a stack has one encoding of positions to replace, and this model is of the form "
            f"{recipe.form!r}; strike position"
        )
    own, dims = recipe.position, replace(recipe.dims, context=context or recipe.dims.context)
    if position is None:
        return replace(recipe, dims=dims)
    settings = {**own.settings, **position.settings} if position.use == own.use else dict(position.settings)
    if position.settings.get("scaling"):
        scaling = Spec.read(position.settings["scaling"], "position.scaling")
        begins = {"original": recipe.dims.context} if "original" in settings_of(SCALINGS[scaling.use]) else {}
        settings["scaling"] = {"use": scaling.use, **begins, **scaling.settings}
    return replace(recipe, position=Spec(position.use, settings), dims=dims)
