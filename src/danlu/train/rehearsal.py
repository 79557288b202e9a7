"""A step of training without its data and its weights: the real trainer over a batch of the right shape."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..core import config
from ..core.batch import Batch
from ..core.spec import Spec
from ..data import DataRecipe, Pack, Source
from ..models import Architecture
from ..nn.model import Model
from ..nn.storages import STORAGES, Storage, Stored, store
from ..objectives import OBJECTIVES
from ..objectives.vocabulary import Vocabulary
from ..plan.work import Work
from . import parts
from .optims import OPTIMS
from .recipe import Recipe, TrainRecipe
from .trainer import Trainer

STEPS = 1000  # of a run whose length nobody asks for: schedules and budgets are built with it
ROLES = ("bos", "eos", "pad", "mask", "cls", "sep", "start", "end")


def rehearsed(work: Work, model: Model) -> Trainer:
    """The trainer of a run on this model, whose weights may be anything, built as ``danlu.train`` builds its own."""
    dress(work, model)
    return staged(work, model)


def dress(work: Work, model: Model, known: dict[Any, Stored] | None = None) -> None:
    """Keeps weights as the work says; maps of one shape are kept alike where ``known`` remembers them."""
    parts.keep_in(parts.precision_of(recipe_of(work)).weights, model.parameters())
    if work.storage:
        storage = work.storage.build(STORAGES, where="storage")
        store(model, storage if known is None else Alike(storage, known))


def staged(work: Work, model: Model) -> Trainer:
    """The trainer over a dressed model, to which the adapter is attached."""
    recipe = recipe_of(work)
    parts.adapt(recipe, model)
    objective = recipe.objective.build(OBJECTIVES, work.chunk, spoken(work.recipe), where="objective")
    objective.check(model)
    return parts.over(recipe, model, objective, Same(batch_of(work)), STEPS)


class Alike(Storage):
    """A storage that keeps the first map of a shape, and copies it for all others: their numbers do not matter."""

    def __init__(self, storage: Storage, known: dict[Any, Stored]) -> None:
        self.storage, self.known, self.bits = storage, known, storage.bits

    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Stored:
        key = (weight.shape, weight.dtype, bias is None, axes)
        if key not in self.known:
            self.known[key] = self.storage.keep(weight, bias, axes)
        return copy.deepcopy(self.known[key])


def warm(work: Work) -> None:
    """Lets storage and optimizer make what they make once for all, of real numbers."""
    matrix = torch.nn.Parameter(torch.zeros(128, 128))
    if work.storage:
        kept = work.storage.build(STORAGES, where="storage").keep(matrix.detach(), None, ("out", "in"))
        kept(torch.zeros(2, 128, requires_grad=True)).sum().backward()
    matrix.grad = torch.zeros_like(matrix)
    work.optim.build(OPTIMS, where="optim").over([("matrix", matrix)]).step()


def recipe_of(work: Work) -> Recipe:
    """A recipe whose step is this work; its data and its base are nowhere."""
    settings = {"precision": work.precision.write(), "recompute": work.recompute, "chunk": work.chunk}
    slots = {"tokens": work.slots * work.micros, "micro": work.slots, "device": work.device}
    return Recipe(
        data=DataRecipe(parts=[Source(from_="nowhere")], pack=Pack(length=max(2, work.length))),
        train=config.read(TrainRecipe, {**work.options, **settings, **slots, "steps": STEPS}, "train"),
        architecture=Spec("nowhere"),
        tokenizer="nowhere",
        storage=work.storage,
        adapter=work.adapter,
        also_train=list(work.also_train),
        objective=work.objective,
        optim=work.optim,
    )


def spoken(recipe: Architecture) -> Vocabulary:
    """A vocabulary that has every token an objective may ask for."""
    size = recipe.dims.vocab
    last = range(size - 1, max(size // 2, size - 101), -1)
    return Vocabulary(size=size, roles={role: number for number, role in enumerate(ROLES)}, sentinels=tuple(last))


def batch_of(work: Work) -> Batch:
    """A step's rows of random tokens, cut into documents of equal lengths; the last share of each row is counted."""
    rows, length = work.rows * work.micros, work.length
    tokens = torch.randint(len(ROLES), work.recipe.dims.vocab // 2, (rows, length))
    at = torch.arange(length)
    segment = at * work.documents // length + 1
    starts = torch.searchsorted(segment, segment)
    counted = (at >= round(length * (1 - work.counted))).float()
    segment, position, weight = (x.expand(rows, length).contiguous() for x in (segment, at - starts, counted))
    return Batch(tokens, tokens.roll(-1, 1), weight, segment, position)


class Same:
    """A stream of one batch, which is made anew each time, as a run's is."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch.map(torch.clone)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        assert not state
