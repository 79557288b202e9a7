"""A run's state beside the weights, as tensors by name and JSON: optimizer, loss scale, random numbers, cursor."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.optim import Optimizer

from ..core.errors import CheckpointError
from .trainer import Trainer

Names = dict[int, str]


def optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The optimizer's state as ``parameter:key`` → tensor."""
    names = _names(trainer)
    state = trainer.optimizer.state
    return {
        f"{names[id(p)]}:{key}": value for p in state for key, value in state[p].items() if isinstance(value, Tensor)
    }


def held_bytes(trainer: Trainer) -> int:
    """Weights, gradients and the optimizer's state that are held between two steps."""
    held = [*trainer.model.parameters(), *optimizer_tensors(trainer).values()]
    return sum(t.nbytes for t in [*held, *(p.grad for p in trainer.model.parameters() if p.grad is not None)])


def restore_optimizer(trainer: Trainer, tensors: dict[str, Tensor], where: str) -> None:
    """Raises CheckpointError if the state is of other parameters."""
    order = _order(trainer.optimizer)
    index = {name: number for number, name in enumerate(_names(trainer)[id(p)] for p in order)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(":")
        if name not in index:
            raise CheckpointError(f"{where}: has optimizer state of {name!r}, which this model does not train")
        state.setdefault(index[name], {})[slot] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def describe(trainer: Trainer) -> dict[str, Any]:
    """Everything else, as JSON."""
    scale = trainer.precision.scale
    return {
        "step": trainer.step,
        "tokens_seen": trainer.tokens_seen,
        "drawn": trainer.drawn,
        "skips": trainer.skips,
        "shunned": sorted(trainer.shunned),
        "stream": trainer.stream.state(),
        "scale": scale.state() if scale else None,
    }


def restore(trainer: Trainer, state: dict[str, Any]) -> None:
    """Takes over what ``describe`` wrote; the stream begins anew from its cursor."""
    trainer.step, trainer.tokens_seen = state["step"], state["tokens_seen"]
    trainer.drawn, trainer.skips, trainer.shunned = state["drawn"], state["skips"], set(state["shunned"])
    trainer.seek(state["stream"])
    if trainer.precision.scale and state["scale"]:
        trainer.precision.scale.restore(state["scale"])


def random_tensors() -> dict[str, Tensor]:
    """The global generators of python, numpy, torch and each CUDA device."""
    version, numbers, following = random.getstate()
    _, keys, position, cached, gauss = numpy.random.get_state(legacy=True)
    found = {
        "python": torch.tensor([version, *numbers], dtype=torch.int64),
        "python.gauss": _maybe(following),
        "numpy": torch.tensor([*keys.tolist(), int(position), int(cached)], dtype=torch.int64),  # type: ignore[union-attr]
        "numpy.gauss": torch.tensor([float(gauss)], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def restore_random(tensors: dict[str, Tensor]) -> None:
    version, *numbers = tensors["python"].tolist()
    random.setstate((version, tuple(numbers), next(iter(tensors["python.gauss"].tolist()), None)))
    *keys, position, cached = tensors["numpy"].tolist()
    gauss = float(tensors["numpy.gauss"])
    numpy.random.set_state(("MT19937", numpy.array(keys, dtype=numpy.uint32), position, cached, gauss))
    torch.set_rng_state(tensors["torch"])
    for name, state in tensors.items():
        kind, _, number = name.partition(".")
        if kind == "cuda" and int(number) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(number))


def _maybe(number: float | None) -> Tensor:
    return torch.tensor([] if number is None else [number], dtype=torch.float64)


def _names(trainer: Trainer) -> Names:
    return {id(p): name for name, p in trainer.trained(trainer.model, trainer.objective)}


def _order(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
