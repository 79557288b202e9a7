"""From a recipe's ``train:`` part to numbers of rows and steps."""

from __future__ import annotations

import math

from ..core.errors import ConfigError
from ..data import Stock
from .ramp import factor_at
from .recipe import Recipe


def rows_a_batch(recipe: Recipe) -> int:
    """Rows that the stream gives at once: ``tokens`` slots; raises ConfigError if not even one row fits."""
    return _whole_rows(recipe, "tokens", recipe.train.tokens)


def rows_at_once(recipe: Recipe) -> int:
    """Rows that pass the model at once: ``micro`` slots, and never more than a batch has."""
    return min(_whole_rows(recipe, "micro", recipe.train.micro), rows_a_batch(recipe))


def steps_of(recipe: Recipe, stock: Stock) -> int:
    """The step that ends the run: given, or the first that has consumed ``epochs`` × the rows of the stock."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    assert recipe.train.epochs is not None
    batches = math.ceil(recipe.train.epochs * stock.rows / rows_a_batch(recipe))
    step = 0
    while batches > 0:
        batches -= factor_at(recipe.train.ramp, step)
        step += 1
    return step


def _whole_rows(recipe: Recipe, name: str, slots: int) -> int:
    length = recipe.data.pack.length
    if slots < length:
        raise ConfigError(
            f"train.{name} is {slots} slots, fewer than one row of data.pack.length {length}; "
            f"raise it to at least {length}"
        )
    return slots // length
