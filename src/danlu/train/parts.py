"""A recipe's parts, built by name: the model it begins from, its tokenizer, the trainer and the hooks."""

from __future__ import annotations

import torch

from .. import data, models
from ..assembly.folder import base_at
from ..core.errors import ConfigError, ShapeError
from ..core.files import MANIFEST, verify
from ..core.rng import derive
from ..data import Prepared
from ..models.hub import located
from ..nn.model import Model
from ..nn.storages import STORAGES, store
from ..objectives import OBJECTIVES, Objective
from ..objectives.vocabulary import Vocabulary
from ..peft import Tending
from ..peft.attached import attach
from ..tokenize import Tokenizer, load_tokenizer
from .hooks import HOOKS, Hook
from .optims import OPTIMS
from .pieces import rows_a_batch, rows_at_once
from .precisions import PRECISIONS
from .recipe import Recipe
from .schedules import SCHEDULES
from .trainer import Trainer


def origin(recipe: Recipe) -> tuple[Model, Tokenizer]:
    """The model to train, with fp32 weights, and its tokenizer; raises CheckpointError if the base is damaged."""
    model, tokenizer = _begun(recipe)
    if recipe.storage:
        store(model, recipe.storage.build(STORAGES, where="storage"))
    if recipe.adapter:
        base = base_at(recipe.base) if recipe.base else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(recipe.seed, "adapter"))
            attach(model, recipe.adapter, also=recipe.also_train, base=base, keep=False)
    return model, tokenizer


def _begun(recipe: Recipe) -> tuple[Model, Tokenizer]:
    if recipe.base is not None:
        model, tokenizer = _continued(recipe.base, recipe.tokenizer)
        if recipe.position or recipe.context:
            model = models.repositioned(model, recipe.position, context=recipe.context)
        return model, tokenizer
    assert recipe.architecture is not None
    assert recipe.tokenizer is not None
    tokenizer = load_tokenizer(recipe.tokenizer)
    birth = derive(recipe.seed, "birth")
    return models.build(recipe.architecture, vocab=tokenizer.vocab_size, seed=birth), tokenizer


def _continued(base: str, tokenizer: str | None) -> tuple[Model, Tokenizer]:
    if ((folder := located(base)) / MANIFEST).is_file():
        verify(folder)
    model, own = models.load(folder, dtype=torch.float32)
    chosen = load_tokenizer(tokenizer) if tokenizer else own
    if chosen is None:
        raise ConfigError(f"base: {base} holds no tokenizer; name one with tokenizer: PATH")
    return model, chosen


def check(recipe: Recipe, model: Model, tokenizer: Tokenizer) -> None:
    """Raises ShapeError if tokenizer or rows do not fit the model, ConfigError if they could not be saved together."""
    models.config_of(model, tokenizer)
    if tokenizer.vocab_size > model.dims.vocab:
        raise ShapeError(
            f"the tokenizer {recipe.tokenizer or recipe.base} has {tokenizer.vocab_size} ids, but the model's "
            f"embedding has {model.dims.vocab} rows; train with the model's own tokenizer, or grow the model with "
            "`danlu tokenizer extend`"
        )
    if recipe.data.pack.length > model.dims.context:
        raise ShapeError(
            f"data.pack.length is {recipe.data.pack.length}, but the model's context is {model.dims.context} tokens; "
            "lower the one or raise the other"
        )


def goal(recipe: Recipe, model: Model, tokenizer: Tokenizer) -> Objective:
    """The objective of a recipe; raises ConfigError if the model or the tokenizer cannot serve it."""
    objective = recipe.objective.build(OBJECTIVES, recipe.train.chunk, Vocabulary.of(tokenizer), where="objective")
    objective.check(model)
    return objective


def build(recipe: Recipe, model: Model, objective: Objective, prepared: Prepared, steps: int) -> Trainer:
    """The trainer of a recipe, its parts built by name."""
    settings, length = recipe.train, recipe.data.pack.length
    model.recompute = settings.recompute == "blocks"
    return Trainer(
        model,
        objective,
        data.stream(prepared.train, rows=rows_a_batch(recipe), length=length, seed=derive(recipe.seed, "stream")),
        recipe.optim.build(OPTIMS, where="optim"),
        schedule=recipe.schedule.build(SCHEDULES, steps, where="schedule"),
        precision=settings.precision.build(PRECISIONS, where="train.precision"),
        micro=rows_at_once(recipe),
        clip=settings.clip,
        ramp=settings.ramp,
        device=settings.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        tending=tending(model, steps),
    )


def tending(model: Model, steps: int) -> Tending | None:
    """What the adapter that trains does besides, if there is one."""
    if model.switch is None:
        return None
    (name,) = model.switch.active
    return model.switch.adapters[name].adapter.tending(model, name, steps)


def hooks(recipe: Recipe) -> list[Hook]:
    made = [spec.build(HOOKS, where=f"hooks.{number}") for number, spec in enumerate(recipe.hooks)]
    return sorted(made, key=lambda hook: hook.turn)
