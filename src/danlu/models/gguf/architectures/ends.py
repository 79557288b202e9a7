"""What llama.cpp asks of every decoder, whatever its blocks."""

from __future__ import annotations

from collections.abc import Mapping

from ....core.errors import ConfigError
from ....core.spec import Spec
from ...families.llama_like import window_of
from ...recipe import LINEAR, Recipe


def refused(recipe: Recipe, more: Mapping[str, bool]) -> str | None:
    """The first thing that a recipe does in another way; ``more`` says of other faults whether they are absent."""
    dims = recipe.dims
    plain = recipe.embed in (0, dims.model) and recipe.embed_scale == recipe.hidden_scale == 1.0
    fits = {
        **more,
        "its tokens are embedded or scored in another way": plain and recipe.head == LINEAR and not recipe.token_types,
        "it pools a vector of each document": not recipe.pooler,
        "its layers share weights": recipe.distinct in (0, dims.layers),
        "its scores have another scale": recipe.score_scale in (None, dims.head**-0.5),
        "it looks at an encoder": not recipe.cross,
        "its masks are others than causal and windowed": all(window(mask) is not None for mask in recipe.masks),
    }
    return next((reason for reason, holds in fits.items() if not holds), None)


def context(recipe: Recipe) -> int:
    """How long texts may be: llama.cpp keeps no windows for these models, so texts end where the narrowest does."""
    return min([recipe.dims.context, *(size for mask in recipe.masks if (size := window(mask)))])


def window(mask: Spec) -> int | None:
    """The window of a mask of one direction, 0 for none; None for a mask of another kind."""
    try:
        return window_of(mask) or 0
    except ConfigError:
        return None
