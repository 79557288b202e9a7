"""What a recipe will cost, before it runs: its step is rehearsed on tensors without memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import models
from ..core import config
from ..data import Prepared
from ..models import Architecture
from ..models.hub import located
from ..nn.storages import STORAGES
from ..plan import Memory, Plan, Work, parameters
from ..plan.devices import device, memory_of_machine, unmeasured
from ..plan.ranks import Ranks
from ..tokenize import load_tokenizer
from .continued import continued
from .parts import precision_of
from .pieces import rows_a_batch, rows_at_once
from .recipe import Recipe
from .traced import memory_of

__all__ = ["architecture_of", "fitting", "forecast", "memory_of", "plan", "work_of"]
DOCUMENT = 256  # tokens of one document among those packed into a row, until the data is known
NAMED = ("steps", "epochs", "tokens", "micro", "precision", "recompute", "ramp", "chunk", "device", "threads")


def forecast(
    recipe: Recipe, *, title: str = "the recipe", on: str | None = None, limit: float | None = None,
    ranks: Ranks | None = None, price: float = 0,
) -> Plan:  # fmt: skip
    """The plan of a recipe on this machine, or ``on`` a named device, with at most ``limit`` bytes of memory.

    No weights are read and no data is prepared; the tokenizer is read for its size. ``Plan.check`` refuses what does
    not fit. Steps of a recipe in epochs are known only once the data is built.

    Raises: ConfigError, CheckpointError, as training with the same recipe would.
    """
    recipe, _ = continued(recipe)
    notes = []
    if recipe.train.steps is None:
        notes.append("the recipe counts epochs: its steps are known once the data is built")
    if recipe.data.pack.rows == "packed":
        notes.append(f"rows are counted as documents of {DOCUMENT} tokens; the data may have others")
        if recipe.data.loss_on != "all":
            notes.append("logits are counted for all tokens; only those the loss counts will be computed")
    where = device(on, precision=recipe.train.precision.use)
    work = work_of(recipe, architecture_of(recipe))
    return Plan(
        title=title,
        work=replace(work, device=recipe.train.device or where.place),
        device=where,
        memory_of=memory_of,
        steps=recipe.train.steps,
        limit=limit,
        ranks=ranks or Ranks(),
        price=price,
        notes=tuple(notes),
    )


def plan(
    recipe: Recipe | str | Path, overrides: Sequence[str] = (), *, on: str | None = None, limit: float | None = None,
    ranks: Ranks | None = None, price: float = 0,
) -> Plan:  # fmt: skip
    """``danlu.plan(recipe)``: the forecast of a recipe, or of the file that holds one; ``table()`` is its page."""
    if isinstance(recipe, Recipe):
        return forecast(recipe, on=on, limit=limit, ranks=ranks, price=price)
    read = config.load(Recipe, recipe, overrides)
    return forecast(read, title=str(recipe), on=on, limit=limit, ranks=ranks, price=price)


def fitting(recipe: Recipe, architecture: Architecture, data: Prepared) -> Memory:
    """The bytes of a run about to start; raises ConfigError with the change that makes it fit if it does not."""
    work = replace(work_of(recipe, architecture), **_known(recipe, data))
    return Plan(title="this run", work=work, device=unmeasured(), memory_of=memory_of).check().memory


def expect_room(recipe: Recipe) -> None:
    """Raises ConfigError, before a weight is read, if the frozen weights alone are more than this machine has."""
    each = precision_of(recipe).weights.itemsize
    if recipe.storage:
        each = min(each, recipe.storage.build(STORAGES, where="storage").bits / 8)
    if each * parameters(architecture_of(recipe)).total > memory_of_machine():
        forecast(recipe, title="this run").check()


def _known(recipe: Recipe, data: Prepared) -> dict[str, Any]:
    """What the data says of its rows: documents in each, and the share of slots that the loss counts."""
    stock, slots = data.train, data.train.rows * recipe.data.pack.length
    supervised = sum(source["supervised"]["train"] for source in data.report["sources"])
    return {
        "documents": max(1, round(stock.documents / stock.rows)) if recipe.data.pack.rows == "packed" else 1,
        "counted": 1.0 if recipe.data.loss_on == "all" else min(1.0, max(0.01, round(supervised / slots, 2))),
    }


def architecture_of(recipe: Recipe) -> Architecture:
    """The model's recipe without its weights."""
    if recipe.base is not None:
        base = models.read_recipe(located(recipe.base))[0]
        changed = recipe.position or recipe.context
        return models.moved(base, recipe.position, recipe.context) if changed else base
    assert recipe.architecture is not None
    assert recipe.tokenizer is not None
    return models.recipe_of(recipe.architecture, vocab=load_tokenizer(recipe.tokenizer).vocab_size)


def work_of(recipe: Recipe, architecture: Architecture) -> Work:
    """One step of the recipe, at the largest factor of its ramp."""
    settings, rows, length = recipe.train, rows_at_once(recipe), recipe.data.pack.length
    batches = max((factor for _, factor in settings.ramp), default=1)
    options = {key: value for key, value in config.write(settings).items() if key not in NAMED}
    return Work(
        recipe=architecture,
        rows=rows,
        length=length,
        micros=batches * -(-rows_a_batch(recipe) // rows),
        precision=settings.precision,
        recompute=settings.recompute,
        chunk=settings.chunk,
        optim=recipe.optim,
        objective=recipe.objective,
        adapter=recipe.adapter,
        also_train=tuple(recipe.also_train),
        storage=recipe.storage,
        documents=-(-length // DOCUMENT) if recipe.data.pack.rows == "packed" else 1,
        device=settings.device or "cpu",
        options=options,
    )
