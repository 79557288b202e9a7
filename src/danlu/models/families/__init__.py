"""Families of published models: what their settings are called, how their weights are named; never a class a family."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import CheckpointError
from ...core.registry import Registry
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry


@dataclass(frozen=True)
class Published:
    """How a family is published: its config.json to a recipe and back, and the names of its tensors."""

    model_type: str
    architecture: str
    read: Callable[[Settings], Recipe]
    write: Callable[[Recipe], dict[str, Any]]
    names: Callable[[Recipe], list[Entry]]


class Family:
    """A newborn model's settings → Recipe (the function it wraps and is called like), and how it is published."""

    def __init__(self, newborn: Callable[..., Recipe], published: Published) -> None:
        functools.update_wrapper(self, newborn)
        self.newborn, self.published = newborn, published

    def __call__(self, vocab: int, **settings: Any) -> Recipe:
        return self.newborn(vocab, **settings)


FAMILIES: Registry[Family] = Registry("family", Family, __name__)


def of_type(model_type: str, where: str) -> Family:
    """The family of a config.json; raises CheckpointError naming the known ones."""
    known = {FAMILIES[name].published.model_type: FAMILIES[name] for name in FAMILIES}
    if model_type not in known:
        raise CheckpointError(f"{where}: model_type {model_type!r} is not built; there are: {', '.join(sorted(known))}")
    return known[model_type]


def family(name: str, published: Published) -> Callable[[Callable[..., Recipe]], Family]:
    """Registers the function that fills a newborn's recipe, under the ``model_type`` of its config.json."""
    return lambda newborn: FAMILIES.add(name)(Family(newborn, published))
