"""A run's state beside the weights, as tensors by name and JSON: optimizer, loss scale, random numbers, cursor."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch
from torch import Tensor

from ..core.errors import CheckpointError
from ..nn.storages import Stored
from .trainer import Trainer

Names = dict[int, str]


def optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The optimizer's state as ``parameter:key`` → tensor."""
    names = _names(trainer)
    return {
        f"{names[id(p)]}:{key}": value
        for state in trainer.held.stepping.states
        for p in state
        for key, value in state[p].items()
        if isinstance(value, Tensor)
    }


def held_bytes(trainer: Trainer) -> int:
    """Weights, gradients and the optimizer's state that the device's memory holds between two steps."""
    packed = [buffer for part in trainer.model.modules() if isinstance(part, Stored) for buffer in part.buffers()]
    held = [*trainer.model.parameters(), *packed, *optimizer_tensors(trainer).values()]
    held = [tensor for tensor in held if not trainer.held.resting(tensor)]
    return sum(t.nbytes for t in [*held, *(p.grad for p in trainer.model.parameters() if p.grad is not None)])


def restore_optimizer(trainer: Trainer, tensors: dict[str, Tensor], where: str) -> None:
    """Fills the state where it lies; raises CheckpointError if it is of other parameters or another optimizer."""
    held = optimizer_tensors(trainer)
    named = dict(trainer.trained(trainer.model, trainer.objective))
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(":")
        if name not in named:
            raise CheckpointError(f"{where}: has optimizer state of {name!r}, which this model does not train")
        if key not in held:  # an optimizer that makes it at its first step
            trainer.optimizer.state[named[name]][slot] = tensor.to(named[name].device)
        elif held[key].shape != tensor.shape or held[key].dtype != tensor.dtype:
            raise CheckpointError(
                f"{where}: the optimizer's {slot} of {name!r} is {_said(tensor)}, and this run's optimizer keeps "
                f"{_said(held[key])}; go on with the optimizer and the precision that the run began with"
            )
        else:
            held[key].copy_(tensor)


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


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
