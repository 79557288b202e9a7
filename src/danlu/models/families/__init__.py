"""Families of published models: what their settings are called, how their weights are named; never a class a family."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import CheckpointError
from ...core.registry import Registry
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Architecture
from ..weights import Entry


@dataclass(frozen=True)
class Published:
    """How a family is published: its config.json to a recipe and back, and the names of its tensors.

    ``beside`` is a pattern of tensors that older files carry and no model needs: copies, and what can be computed;
    ``others`` of tensors of other heads, which files may hold beside what ``architectures`` names: left out, and said.
    ``fixed`` are special token ids on which the model itself is built, so that its tokenizer must have them.
    """

    model_type: str
    architecture: str
    read: Callable[[Settings], Architecture]
    write: Callable[[Any], dict[str, Any]]
    names: Callable[[Any], list[Entry]]
    beside: str = r"$^"
    others: str = r"$^"
    fixed: tuple[str, ...] = ()


Newborn = Callable[..., Architecture]


class Family:
    """A newborn model's settings → Recipe, and how it is published.

    ``newborn`` takes Dims and the settings that are the family's own; ``sizes`` says which sizes a recipe may give;
    ``formula`` (formula.py) counts a newborn's parameters, "" where that depends on which parts are chosen.
    """

    def __init__(self, newborn: Newborn, published: Published, sizes: Callable[..., Dims], formula: str) -> None:
        functools.update_wrapper(self, newborn)
        self.newborn, self.published, self.sizes, self.formula = newborn, published, sizes, formula
        vocab, *given = inspect.signature(sizes).parameters.values()
        own = [p for p in inspect.signature(newborn).parameters.values() if p.kind is p.KEYWORD_ONLY]
        vocab = vocab.replace(kind=vocab.POSITIONAL_OR_KEYWORD)
        self.__signature__ = inspect.Signature([vocab, *given, *own], return_annotation="Architecture")

    def __call__(self, vocab: int, **settings: Any) -> Architecture:
        sizes = {name: settings.pop(name) for name in inspect.signature(self.sizes).parameters if name in settings}
        return self.newborn(self.sizes(vocab=vocab, **sizes), **settings)


FAMILIES: Registry[Family] = Registry("family", Family, __name__)


def of_type(model_type: str, where: str) -> Family:
    """The family of a config.json; raises CheckpointError naming the known ones."""
    known = {FAMILIES[name].published.model_type: FAMILIES[name] for name in FAMILIES}
    if model_type not in known:
        raise CheckpointError(
            f"{where}: model_type {model_type!r} is not built; there are: {', '.join(sorted(known))}; take a model of "
            "one of these"
        )
    return known[model_type]


def family(
    name: str, published: Published, sizes: Callable[..., Dims], formula: str = ""
) -> Callable[[Newborn], Family]:
    """Registers the function that fills a newborn's recipe, under the ``model_type`` of its config.json."""
    return lambda newborn: FAMILIES.add(name)(Family(newborn, published, sizes, formula))
