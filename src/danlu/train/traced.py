"""The bytes of a step, from the real step on tensors without memory."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from ..core.errors import DanluError
from ..models import Recipe, on_meta
from ..nn.attention import Attends
from ..nn.cells import Cell
from ..nn.ffns import FeedForward
from ..nn.heads import Head
from ..nn.model import Model
from ..nn.norms import Norm
from ..nn.sites import Attachment
from ..nn.storages import Stored
from ..nn.wirings import Wiring
from ..plan import parameters
from ..plan.depth import deepened, depths, shallow
from ..plan.trace import Moments, Trace
from ..plan.work import Memory, Work
from ..quant.pieces import imagining_gpu
from . import parts
from .host import telling
from .rehearsal import dress, recipe_of, staged, warm
from .trainer import Trainer

ROOMS: dict[type[nn.Module], str] = {
    Attachment: "adapter", Norm: "norms", Attends: "attention", FeedForward: "ffn",
    Cell: "recurrence", Head: "logits", Wiring: "stream", Model: "stream",
}  # fmt: skip
IMAGINED = "bytes of a GPU that is not here: its kernels are taken to hold what those of this machine do"
_found: dict[str, Memory] = {}
_kept: dict[str, dict[Any, Stored]] = {}


def memory_of(work: Work) -> Memory:
    """Peak bytes of each phase of a step after the first, and what they are made of.

    Truth: tests/parity/test_plan_memory.py (torch's allocator watched while the real trainer steps).
    """
    key = work.key()
    if key not in _found:
        _found[key] = _traced(work)
    return _found[key]


def _traced(work: Work) -> Memory:
    try:
        return _rehearsed(work)
    except DanluError:
        raise
    except Exception as error:  # a part from outside may do what only tensors with memory can
        logging.getLogger("danlu").debug("the step could not be traced", exc_info=True)
        return _held(
            work, f"this step cannot be traced ({type(error).__name__}): only what is held between steps counts"
        )


def _held(work: Work, note: str) -> Memory:
    """Weights, and of those that train gradients and AdamW's states: less than any step takes."""
    total, trains = parameters(work.recipe).total, trained_numbers(work)
    held = {"frozen weights": 4 * (total - min(total, trains)), "weights": 4 * trains}
    return Memory({"load": held, "step": held | {"gradients": 4 * trains, "optimizer": 8 * trains}}, (note,))


def trained_numbers(work: Work) -> int:
    """How many numbers train, counted on a model without memory."""
    model = on_meta(work.recipe)
    with torch.device("meta"):
        parts.adapt(recipe_of(work), model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _rehearsed(work: Work) -> Memory:
    imagined = work.device != "cpu" and not torch.cuda.is_available()
    return Memory(_phases(_moments(work)), (IMAGINED,) if imagined else ())


def _moments(work: Work) -> Moments:
    """Of deep stacks, from two shallow ones; of those whose adapters do not repeat with the blocks, traced whole."""
    pair = depths(work.recipe) if isinstance(work.recipe, Recipe) else None
    if pair is None or not _repeats(work):
        return traced(work).moments()
    low, high = (traced(_cut(work, layers)).moments() for layers in pair)
    return deepened(low, high, (work.recipe.dims.layers - pair[0]) // (pair[1] - pair[0]))


def _cut(work: Work, layers: int) -> Work:
    return replace(work, recipe=shallow(cast("Recipe", work.recipe), layers))


def _repeats(work: Work) -> bool:
    """Whether every block trains as much as every other, the adapter attached to a model without memory."""
    if work.adapter is None:
        return True
    model = on_meta(work.recipe)
    with torch.device("meta"):
        parts.adapt(recipe_of(work), model)
    blocks = [part for part in model.modules() if isinstance(part, Wiring)]
    return len({sum(p.numel() for p in block.parameters() if p.requires_grad) for block in blocks}) == 1


def traced(work: Work) -> Trace:
    """The second step of a run of this work, traced."""
    warm(work)
    trace = Trace(_room, block=Wiring, unit=512 if work.device == "cuda" else 1)
    place = work.device if torch.cuda.is_available() else "cpu"  # no tensor moves to a device that torch does not know
    once = replace(work, micros=min(work.micros, 2), device=place)
    gpu = imagining_gpu() if work.device != place else nullcontext()
    with torch.random.fork_rng(devices=[]), trace.watching(), telling(partial(_rests, trace)), gpu:
        trainer = _fake(once, trace)
        _step(trainer, trace)
        trainer.optimizer.zero_grad(set_to_none=True)
    return trace


def _fake(work: Work, trace: Trace) -> Trainer:
    """The trainer; what it holds before the first step is named."""
    trace.begin("load")
    model = _empty(work)
    trace.call("weights", model.parameters())
    trace.call("frozen weights", model.buffers())
    _read_map(model, trace)
    trace.begin("prepare")
    trainer = staged(work, model)
    _name(trainer, trace)
    for parameter in _trained(trainer):
        parameter.register_post_accumulate_grad_hook(lambda p: trace.call("gradients", [p.grad]))
    return trainer


def _empty(work: Work) -> Model:
    with unset_fake_temporarily():
        model = on_meta(work.recipe)
        dress(work, model, _kept.setdefault(json.dumps(work.storage and work.storage.write()), {}))
    return model.to_empty(device=work.device)


def _read_map(model: Model, trace: Trace) -> None:
    """While weights are quantized, the largest of them is there as it is published."""
    largest = max((p.in_features * p.out_features for p in model.modules() if isinstance(p, Stored)), default=0)
    torch.empty(largest, dtype=torch.float32)


def _name(trainer: Trainer, trace: Trace) -> None:
    for part in (trainer.model, trainer.objective):
        trace.call("frozen weights", (p for p in part.parameters() if not p.requires_grad))
        trace.call("frozen weights", part.buffers())
        trace.call("weights", (p for p in part.parameters() if p.requires_grad))
    states = [value for held in trainer.held.stepping.states for state in held.values() for value in state.values()]
    trace.call("optimizer", (value for value in states if isinstance(value, Tensor)))


def _trained(trainer: Trainer) -> list[Any]:
    return [p for group in trainer.optimizer.param_groups for p in group["params"]]


def _step(trainer: Trainer, trace: Trace) -> None:
    """One step; optimizers that make their state at the first one do so before."""
    for parameter in _trained(trainer):
        parameter.grad = torch.empty_like(parameter)
    trainer.held.stepping.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    _name(trainer, trace)
    trainer.read = partial(_read, trace)
    loss, sample = trainer.objective.loss, trainer.objective.sample

    def losing(model: Model, batch: Any) -> Any:
        trace.begin("loss")
        found = loss(model, batch)
        trace.begin("backward")
        return found

    def sampling(batch: Any, step: int = 0) -> Any:
        with trace.really("batch"):
            return sample(batch, step)

    trainer.objective.loss, trainer.objective.sample = losing, sampling  # type: ignore[method-assign]
    trainer.model.train()
    trainer.objective.train()
    trace.begin("loss")
    with trace.really("batch"):
        batch = next(iter(trainer.stream))
    trainer.update([batch])


def _rests(trace: Trace, tensor: Tensor) -> None:
    """What lies at the host takes nothing of the device's memory."""
    if held := trace.held(tensor):
        held.bytes_ = 0


def _read(trace: Trace, told: Tensor) -> list[float]:
    trace.begin("step")
    return [1.0] * len(told)


def _room(module: nn.Module) -> str | None:
    return next((room for kind, room in ROOMS.items() if isinstance(module, kind)), None)


def _phases(moments: Moments) -> dict[str, dict[str, int]]:
    """Of each phase the dearest part."""
    found: dict[str, dict[str, int]] = {}
    for (phase, _), kinds in moments.items():
        if sum(kinds.values()) >= sum(found.get(phase, {}).values()):
            found[phase] = dict(sorted(kinds.items()))
    return {phase: found[phase] for phase in ("load", "loss", "backward", "step") if phase in found}
