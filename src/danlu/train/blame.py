"""Which layer and which rows made a step go wrong: the last batch once more, with an ear at every module."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.batch import Record
from .trainer import Trainer


@dataclass
class Heard:
    """The first module whose output was not finite, and the largest output of each that was."""

    module: str = ""
    peaks: dict[str, float] = field(default_factory=dict)


def blame(trainer: Trainer) -> str:
    """One clause: the layer, and the rows counted from 0 within what was sampled of their batch of the stream.

    Truth: tests/faults/test_train_rescue.py (a fault planted in a known layer and row is found).
    """
    worst = (-math.inf, 0, 0)
    peaks: dict[str, float] = {}
    for number, batch in zip(trainer.drawn_now, trainer.batches, strict=True):
        for row in range(len(batch)):
            heard, loss = _listen(trainer, batch[row : row + 1])
            if heard.module:
                return f"{heard.module} is the first layer whose output is not finite, for row {row} of batch {number}"
            worst = max(worst, (loss, row, number))
            peaks = {name: max(peak, peaks.get(name, 0.0)) for name, peak in heard.peaks.items()}
    loss, row, number = worst
    where = f"row {row} of batch {number} has the highest loss, {loss:.4g}"
    if names := _bad_gradients(trainer):
        return f"every output is finite but the gradient of {names[0]} is not; {where}"
    layer = max(peaks, key=lambda name: peaks[name])
    return f"{layer} has the largest output, {peaks[layer]:.3g}; {where}"


def _listen(trainer: Trainer, row: Record) -> tuple[Heard, float]:
    heard = Heard()
    part = row.to(trainer.device)
    with _ears(trainer.model, heard), torch.no_grad(), trainer.precision.forward(torch.device(trainer.device).type):
        found = trainer.objective.loss(trainer.model, part)
    loss = float(found.total / found.weight) if float(found.weight) else -math.inf
    if not heard.module and math.isnan(loss):
        heard.module = "the objective itself"
    return heard, loss


@contextmanager
def _ears(model: nn.Module, heard: Heard) -> Iterator[None]:
    """Inner modules end before outer ones, so the first that is heard is where it began."""

    def listen(name: str) -> Any:
        def ear(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or heard.module:
                return
            peak = float(output.detach().abs().max()) if output.numel() else 0.0
            if math.isfinite(peak):
                heard.peaks[name] = max(peak, heard.peaks.get(name, 0.0))
            else:
                heard.module = name

        return ear

    handles = [module.register_forward_hook(listen(name)) for name, module in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _bad_gradients(trainer: Trainer) -> list[str]:
    """Parameters whose gradient of the last step is not finite, the last layer first: backward went that way."""
    named = reversed(trainer.trained(trainer.model, trainer.objective))
    return [name for name, p in named if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
