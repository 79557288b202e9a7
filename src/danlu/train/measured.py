"""What a step really takes, of a work whose weights and data may be anything: the other side of every forecast."""

from __future__ import annotations

import torch
from torch.profiler import record_function

from ..models import on_meta
from ..plan.peak import allocating, measuring
from ..plan.work import Work
from .rehearsal import rehearsed
from .trainer import Trainer

SECOND = "danlu: the second step"


def allocated(work: Work) -> int:
    """The highest sum of tensors during a step after the first, all that was held before included.

    On a CPU torch's profiler watches; a GPU's allocator keeps its own mark.
    """
    if work.device == "cuda":
        return _marked(work)
    with allocating(after=SECOND) as peak:
        trainer = begun(work)
        _step(trainer)
        with record_function(SECOND):
            pass
        _step(trainer)
    return peak.bytes_


def resident(work: Work) -> int:
    """The most memory of the process during two steps, beyond what it held before the model was built."""
    with measuring() as peak:
        trainer = begun(work)
        for _ in range(2):
            _step(trainer)
    return peak.bytes_


def begun(work: Work) -> Trainer:
    """The trainer of a work, with drawn weights."""
    model = on_meta(work.recipe).to_empty(device=work.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.02)
    trainer = rehearsed(work, model)
    trainer.model.train()
    trainer.objective.train()
    return trainer


def _step(trainer: Trainer) -> None:
    with trainer.precision.around_run():
        trainer.update([next(iter(trainer.stream))])


def _marked(work: Work) -> int:
    trainer = begun(work)
    _step(trainer)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    _step(trainer)
    return torch.cuda.max_memory_allocated()
