"""A deterministic bilingual world whose every question has an oracle: the demo's text, below any lab."""

from .oracle import Exercise, right
from .people import Person, World, world

__all__ = ["Exercise", "Person", "World", "right", "world"]
