"""Floor 6: stages from text to a talking model, each resumable, and the report they end in."""

from __future__ import annotations

from .builtin import demo
from .recipe import LifeRecipe
from .run import Life, run

__all__ = ["Life", "LifeRecipe", "demo", "run"]
