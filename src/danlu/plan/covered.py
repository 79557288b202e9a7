"""Which models the calculators have formulas for."""

from __future__ import annotations

from ..core.errors import ConfigError
from ..models import Architecture, Recipe


def covered(recipe: Architecture) -> Recipe:
    """The recipe of a stack; raises ConfigError for forms that are not counted yet."""
    if isinstance(recipe, Recipe):
        return recipe
    raise ConfigError(f"the planner has formulas for stacks of blocks, not yet for models of the form {recipe.form!r}")
