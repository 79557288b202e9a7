"""What a recipe will cost, before it runs: fills the planner's calculators from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .. import models
from ..core import config
from ..models import Architecture
from ..models.hub import located
from ..plan import Memory, Plan, Work
from ..plan.devices import device, unmeasured
from ..tokenize import load_tokenizer
from .optims import OPTIMS, Optim
from .pieces import rows_a_batch, rows_at_once
from .recipe import Recipe


def forecast(recipe: Recipe, *, title: str = "the recipe", on: str | None = None, limit: float | None = None) -> Plan:
    """The plan of a recipe on this machine, or ``on`` a named device, with at most ``limit`` bytes of memory.

    No weights are read and no data is prepared; the tokenizer is read for its size. ``Plan.check`` refuses what does
    not fit. Steps of a recipe in epochs are known only once the data is built.

    Raises: ConfigError, CheckpointError, as training with the same recipe would.
    """
    notes = []
    if recipe.train.steps is None:
        notes.append("the recipe counts epochs: its steps are known once the data is built")
    if recipe.data.loss_on != "all" and recipe.data.pack.rows == "packed":
        notes.append("logits are counted for all tokens; only those the loss counts will be computed")
    return Plan(
        title=title,
        work=work_of(recipe, architecture_of(recipe)),
        device=device(on, precision=recipe.train.precision.use),
        steps=recipe.train.steps,
        limit=limit,
        notes=tuple(notes),
    )


def plan(
    recipe: Recipe | str | Path, overrides: Sequence[str] = (), *, on: str | None = None, limit: float | None = None
) -> Plan:
    """``danlu.plan(recipe)``: the forecast of a recipe, or of the file that holds one; ``table()`` is its page."""
    if isinstance(recipe, Recipe):
        return forecast(recipe, on=on, limit=limit)
    return forecast(config.load(Recipe, recipe, overrides), title=str(recipe), on=on, limit=limit)


def fitting(recipe: Recipe, architecture: Architecture) -> Memory:
    """The bytes of a run about to start; raises ConfigError with the change that makes it fit if it does not."""
    return Plan(title="this run", work=work_of(recipe, architecture), device=unmeasured()).check().memory


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
    settings, rows = recipe.train, rows_at_once(recipe)
    batches = max((factor for _, factor in settings.ramp), default=1)
    return Work(
        recipe=architecture,
        rows=rows,
        length=recipe.data.pack.length,
        micros=batches * -(-rows_a_batch(recipe) // rows),
        precision=settings.precision.use,
        recompute=settings.recompute == "blocks",
        chunk=settings.chunk,
        optimizer_bytes=state_bytes(recipe.optim.build(OPTIMS, where="optim")),
        documents=recipe.data.pack.rows == "packed",
    )


def state_bytes(optim: Optim) -> float:
    """Bytes of state a parameter, seen on a small matrix after one step; single numbers a tensor do not count."""
    parameter = nn.Parameter(torch.zeros(64, 64))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = optim.over([("matrix", parameter)])
    optimizer.step()
    state = optimizer.state[parameter].values()
    return sum(v.nbytes for v in state if isinstance(v, torch.Tensor) and v.numel() > 1) / parameter.numel()
