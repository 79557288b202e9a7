"""A recipe's parts, built by name: the model it begins from, its tokenizer, the trainer and the hooks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from .. import data, models
from ..assembly.folder import base_at
from ..core.errors import ConfigError, ShapeError
from ..core.files import MANIFEST, verify
from ..core.ports import Stream
from ..core.rng import derive
from ..data import Prepared
from ..models.hub import located
from ..nn.model import Model
from ..nn.storages import STORAGES, Storage, Stored, store
from ..objectives import OBJECTIVES, Objective
from ..objectives.vocabulary import Vocabulary
from ..peft import Tending
from ..peft.attached import Base, attach
from ..tokenize import Tokenizer, load_tokenizer
from .hooks import HOOKS, Hook
from .optims import OPTIMS
from .pieces import rows_a_batch, rows_at_once
from .precisions import PRECISIONS, Precision
from .recipe import Recipe
from .schedules import SCHEDULES
from .trainer import Trainer


def origin(recipe: Recipe) -> tuple[Model, Tokenizer]:
    """The model to train, its weights in the dtype of the precision, and its tokenizer.

    Weights that train beside or in an adapter are fp32. Raises CheckpointError if the base is damaged.
    """
    kept = precision_of(recipe).weights
    storage = recipe.storage.build(STORAGES, where="storage") if recipe.storage else None
    model, tokenizer = _begun(recipe, kept, storage)
    if storage:
        store(model, storage)
    if not recipe.adapter and any(isinstance(part, Stored) for part in model.modules()):
        raise ConfigError(
            f"base: {recipe.base} keeps its weights quantized, which cannot be trained; name an adapter, or take the "
            "directory that was not quantized"
        )
    adapt(recipe, model, base_at(recipe.base) if recipe.adapter and recipe.base else None, tokenizer)
    return model, tokenizer


def adapt(recipe: Recipe, model: Model, base: Base | None = None, tokenizer: Tokenizer | None = None) -> None:
    """Attaches the adapter of a recipe, if it names one; what trains then is fp32, whatever the base is kept in.

    Without a tokenizer, where numbers do not matter, every text is one token.
    """
    if recipe.adapter:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(recipe.seed, "adapter"))
            encode = tokenizer.encode if tokenizer else lambda text: [0]
            attach(model, recipe.adapter, also=recipe.also_train, base=base, keep=False, encode=encode)
        keep_in(torch.float32, [parameter for parameter in model.parameters() if parameter.requires_grad])


def precision_of(recipe: Recipe) -> Precision:
    return recipe.train.precision.build(PRECISIONS, where="train.precision")


def keep_in(dtype: torch.dtype, parameters: Iterable[nn.Parameter]) -> None:
    """Rounds or widens these where they are; buffers, such as tables of positions, stay as they are."""
    for parameter in parameters:
        if parameter.dtype is not dtype:
            parameter.data = parameter.data.to(dtype)


def _begun(recipe: Recipe, kept: torch.dtype, storage: Storage | None) -> tuple[Model, Tokenizer]:
    if recipe.base is not None:
        model, tokenizer = _continued(recipe.base, recipe.tokenizer, kept, storage)
        if recipe.position or recipe.context:
            model = models.repositioned(model, recipe.position, context=recipe.context)
        return model, tokenizer
    assert recipe.architecture is not None
    assert recipe.tokenizer is not None
    tokenizer = load_tokenizer(recipe.tokenizer)
    birth = derive(recipe.seed, "birth")
    model = models.build(recipe.architecture, vocab=tokenizer.vocab_size, seed=birth)
    keep_in(kept, model.parameters())
    return model, tokenizer


def _continued(base: str, tokenizer: str | None, kept: torch.dtype, storage: Storage | None) -> tuple[Model, Tokenizer]:
    if ((folder := located(base)) / MANIFEST).is_file():
        verify(folder)
    model, own = models.load(folder, dtype=kept, storage=storage)
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
    if model.limit is not None and recipe.data.pack.length > model.limit:
        raise ShapeError(
            f"data.pack.length is {recipe.data.pack.length}, but beside its virtual tokens the model has positions for "
            f"{model.limit} tokens; lower data.pack.length or the length of the adapter"
        )


def goal(recipe: Recipe, model: Model, tokenizer: Tokenizer) -> Objective:
    """The objective of a recipe; raises ConfigError if the model or the tokenizer cannot serve it."""
    objective = recipe.objective.build(OBJECTIVES, recipe.train.chunk, Vocabulary.of(tokenizer), where="objective")
    objective.check(model)
    return objective


def build(
    recipe: Recipe, model: Model, objective: Objective, prepared: Prepared, steps: int, folder: Path | None = None
) -> Trainer:
    """The trainer of a recipe over its data, its parts built by name."""
    rows, length = rows_a_batch(recipe), recipe.data.pack.length
    stream = data.stream(prepared.train, rows=rows, length=length, seed=derive(recipe.seed, "stream"))
    return over(recipe, model, objective, stream, steps, folder)


def over(
    recipe: Recipe, model: Model, objective: Objective, stream: Stream, steps: int, folder: Path | None = None
) -> Trainer:
    """The trainer of a recipe over any stream of batches; what a CPU offloads lies in ``folder``."""
    settings = recipe.train
    model.recompute = settings.recompute
    return Trainer(
        model,
        objective,
        stream,
        recipe.optim.build(OPTIMS, where="optim"),
        schedule=recipe.schedule.build(SCHEDULES, steps, where="schedule"),
        precision=precision_of(recipe),
        micro=rows_at_once(recipe),
        clip=settings.clip,
        ramp=settings.ramp,
        device=settings.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        tending=tending(model, steps),
        fused_step=settings.fused_step,
        offload=settings.offload,
        folder=folder,
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
