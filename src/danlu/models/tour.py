"""Every family with what it costs: its formula of parameters, and a newborn model's line that works as it stands."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from ..core.catalog import catalog
from ..core.spec import Spec, settings_of
from .families import FAMILIES, Family
from .families.formula import LETTERS, counted
from .newborn import on_meta, recipe_of

VOCAB = 8000
EXAMPLE = {"model": 256, "layers": 4, "heads": 4, "context": 512, "image": 224, "patch": 16}
"""Values for the settings without which a family has no size."""
LEGEND = (
    "; ".join(f"{letter} {size}" for letter, size in LETTERS.items())
    + "; other words are settings of the recipe, a true one counts as 1"
)


@dataclass(frozen=True)
class Stop:
    """One family: its sentence and source, the formula, a recipe line and the parameters that it has."""

    name: str
    line: str
    source: str
    formula: str
    settings: dict[str, int]
    parameters: int

    @property
    def recipe(self) -> str:
        """As a recipe's YAML has it."""
        values = ", ".join(f"{key}: {value}" for key, value in {"use": self.name, **self.settings}.items())
        return f"architecture: {{{values}}}"

    @property
    def counted(self) -> str:
        """The formula, or why there is none."""
        return self.formula or "depends on its parts"


def tour() -> list[Stop]:
    """The families by name; parameters are counted on a model without memory for a vocabulary of VOCAB."""
    return [_stop(part.name, part.line, part.source) for part in catalog("family")["family"]]


def _stop(name: str, line: str, source: str) -> Stop:
    family = FAMILIES[name]
    settings = example(family)
    recipe = recipe_of(Spec(name, settings), vocab=VOCAB)
    if family.formula:
        parameters = counted(family.formula, recipe)
    else:
        parameters = sum(parameter.numel() for parameter in on_meta(recipe).parameters())
    return Stop(name, line, source, family.formula, dict(settings), parameters)


def example(family: Family) -> dict[str, int]:
    """The settings that a newborn of the family cannot do without."""
    needed = (p.name for p in settings_of(family).values() if p.default is inspect.Parameter.empty)
    return {name: EXAMPLE[name] for name in needed}
