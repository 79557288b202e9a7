"""Floor 3: models as recipes of parts, newborn or read from the directories that the field publishes."""

from .forms.stack import Stack
from .growing import grow
from .newborn import build, on_meta, recipe_of
from .reading import load, read_into, read_recipe, tokenizer_of
from .recipe import Architecture, Recipe
from .repositioning import moved, repositioned
from .writing import config_of, save, write_into, write_weights

__all__ = [
    "Architecture",
    "Recipe",
    "Stack",
    "build",
    "config_of",
    "grow",
    "load",
    "moved",
    "on_meta",
    "read_into",
    "read_recipe",
    "recipe_of",
    "repositioned",
    "save",
    "tokenizer_of",
    "write_into",
    "write_weights",
]
