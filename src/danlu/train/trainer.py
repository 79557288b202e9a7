"""The one training loop. Pretraining, tuning and what comes later differ in the stream and the objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.batch import Batch, Record
from ..core.errors import ConfigError, DanluError
from ..core.ports import Stream
from ..nn.model import Model
from ..objectives import Loss, Objective
from ..peft import Tending
from . import fused, gradients
from .held import Held, trained
from .hooks import Ask, Hook
from .numbers import Numbers
from .optims import Optim
from .precisions import Precision
from .precisions.fp32 import Fp32
from .ramp import factor_at
from .schedules import Schedule
from .schedules.constant import Constant


class Keeper(Protocol):
    """Where a run's state goes and comes from."""

    def save(self, trainer: Trainer) -> None: ...

    def rewind(self, trainer: Trainer) -> int:
        """Restores the newest good state and answers its step."""
        ...


class Trainer:
    """Minimizes Σ total / Σ weight of an objective over a stream, however a step's batch is cut.

    ``micro`` is the most rows that pass the model at once; ``ramp`` lists (step, factor) pairs: from that step on a
    step takes ``factor`` batches of the stream. A step whose loss or gradient is not finite never reaches the weights,
    but with ``fused_step``: each weight then moves as soon as its gradient is there, which is freed. ``offload`` names
    what rests at the host (activations, optimizer, parameters), on a CPU in files in ``folder``.

    Raises: ConfigError if a fused step is asked for what needs all gradients at once.
    Truth:  tests/contracts/test_trainer.py (micro-batches and packing change no gradient, with SGD).
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        stream: Stream,
        optim: Optim,
        *,
        schedule: Schedule | None = None,
        precision: Precision | None = None,
        micro: int | None = None,
        clip: float | None = 1.0,
        ramp: Sequence[tuple[int, int]] = (),
        device: str = "cpu",
        tending: Tending | None = None,
        fused_step: bool = False,
        offload: Collection[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.schedule, self.precision = schedule or Constant(0), precision or Fp32()
        self.held = Held(model, objective, optim, self.precision, device, offload, folder)
        self.model, self.objective = self.held.model, self.held.objective
        self.stream, self.optim, self.optimizer = stream, optim, self.held.stepping.optimizer
        self.micro, self.clip, self.ramp, self.device, self.fused_step = micro, clip, ramp, device, fused_step
        self.tending = tending or Tending()
        if fused_step:
            fused.check(self)
        self.read: Callable[[Tensor], list[float]] = Tensor.tolist  # the one place where the host waits for numbers
        self.step = self.tokens_seen = self.drawn = self.skips = 0
        self.shunned: set[int] = set()
        self.batches: list[Record] = []
        self.drawn_now: tuple[int, ...] = ()
        self._records: Iterator[Record] | None = None

    trained = staticmethod(trained)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────
    def fit(self, until: int, hooks: Sequence[Hook] = (), keeper: Keeper | None = None) -> str:
        """Trains up to and including step ``until``; answers why it stopped, "" if by itself."""
        self.model.train()
        self.objective.train()
        with self.precision.around_run():
            while self.step < until:
                numbers = self.update(self._draw())
                if stop := self._consult(numbers, hooks, keeper):
                    return stop
        return ""

    def _consult(self, numbers: Numbers, hooks: Sequence[Hook], keeper: Keeper | None) -> str:
        """Asks hook by hook and does what each asks before the next is asked."""
        for hook in hooks:
            if not (numbers.finite or hook.hears_faults):
                continue
            ask = hook.after(numbers)
            if ask.rewind and keeper:
                self._rewind(numbers, hooks, keeper)
                return ""
            self.serve(ask, keeper)
            if ask.stop:
                return ask.stop
        if not numbers.finite:
            moved = self.fused_step and math.isfinite(numbers.loss)
            now = "have moved already, in a fused step: go back to a checkpoint" if moved else "are as before it"
            raise DanluError(
                f"step {numbers.step}: the loss is {numbers.loss:g} and the norm of its gradient {numbers.norm:g}; the "
                f"weights {now}; lower optim.lr, look at the data, or add the hook rescue"
            )
        return ""

    def serve(self, ask: Ask, keeper: Keeper | None) -> None:
        if ask.save and keeper:
            keeper.save(self)

    def _rewind(self, numbers: Numbers, hooks: Sequence[Hook], keeper: Keeper) -> None:
        shunned = self.shunned | set(numbers.batches)
        step = keeper.rewind(self)
        self.shunned |= shunned
        for hook in hooks:
            hook.rewound(step)

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────
    def update(self, batches: Sequence[Record]) -> Numbers:
        """One step of the optimizer on the gradient of Σ total / Σ weight over all these batches."""
        begin = time.perf_counter()
        self.batches = [self.objective.sample(batch, self.step) for batch in batches]
        scale, lr = self._factor(batches), self._lr(self.step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        sums = fused.backward(self) if self.fused_step else self._backward(self.batches, scale)
        told = [sums.pop("total"), sums.pop("weight"), sums.pop("norm")]
        total, weight, summed = self.read(torch.stack(told))
        if not weight:
            raise DanluError(
                f"step {self.step + 1}: no token of its batches counts; see what `danlu data inspect` shows"
            )
        norm = summed / (weight * scale)
        if math.isfinite(total) and math.isfinite(norm):
            self._move(weight * scale, norm)
        shown = self.precision.scale and self.precision.scale.value
        overflowed = self._rescale(math.isfinite(total), math.isfinite(norm))
        self.step += 1
        self.tokens_seen += (tokens := sum(map(_real, batches)))
        return Numbers(
            step=self.step, loss=total / weight, norm=norm, lr=lr, tokens=tokens, tokens_seen=self.tokens_seen,
            seconds=time.perf_counter() - begin, batches=self.drawn_now,
            skipped=overflowed, scale=shown,
            metrics={name: float(value) / weight for name, value in sums.items()},
        )  # fmt: skip

    def _backward(self, batches: Sequence[Record], scale: float) -> dict[str, Tensor]:
        """Adds up gradients of the scaled sums; answers the sums: total, weight and the objective's metrics."""
        sums = {"total": torch.zeros((), device=self.device), "weight": torch.zeros((), device=self.device)}
        self.held.begin(self.cuts(batches))
        for part in self.parts(batches):
            loss = self.loss(part)
            if loss.total.requires_grad:
                (loss.total if scale == 1.0 else loss.total * scale).backward()
            found = {**loss.metrics, "total": loss.total.detach(), "weight": loss.weight}
            for name, value in found.items():
                sums[name] = sums[name] + value if name in sums else value
        self.held.leave()
        return {**sums, "norm": gradients.norm(self._gradients())}

    def loss(self, part: Record) -> Loss:
        """The loss of one micro-batch, in the numbers of the run's precision."""
        with self.precision.forward(torch.device(self.device).type), self.held.forward():
            return self.objective.loss(self.model, part)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def cuts(self, batches: Sequence[Record]) -> int:
        """How many micro-batches a step has."""
        return sum(math.ceil(len(batch) / (self.micro or len(batch) or 1)) for batch in batches)

    def parts(self, batches: Sequence[Record]) -> Iterator[Record]:
        """Micro-batches of at most ``micro`` rows, on the device."""
        for batch in batches:
            rows = self.micro or len(batch)
            for part in batch.split(math.ceil(len(batch) / rows) if len(batch) else 1):
                yield part.to(self.device) if self.device != "cpu" else part

    def _move(self, divisor: float, norm: float) -> None:
        """Weights move by the clipped gradient of the mean; in a fused step they have moved."""
        if not self.fused_step:
            gradients.settle(self._gradients(), divisor, norm, self.clip)
            self.tending.graded(self.step + 1)
            self.held.stepping.step()
        for parameter in self.tending.moved(self.step + 1):
            for value in self.optimizer.state[parameter].values():
                value.zero_()

    def _lr(self, step: int) -> float:
        return self.optim.lr * self.schedule.factor(step) * self.tending.pace(step)

    def _factor(self, batches: Sequence[Record]) -> float:
        """What sums are multiplied by before backward: the loss scale over the step's slots, 1 without a loss scale.

        Loss scales are tuned to means; the slots (up to a power of two) bring a sum to that size before its weight is
        known.
        """
        if self.precision.scale is None:
            return 1.0
        return self.precision.scale.value / 2 ** math.ceil(math.log2(sum(map(_slots, batches))))

    def _rescale(self, loss_finite: bool, norm_finite: bool) -> bool:
        """Tells the loss scale what happened; True if gradients of a finite loss overflowed."""
        if self.precision.scale is None or not loss_finite:
            return False
        self.precision.scale.update(not norm_finite)
        self.skips += not norm_finite
        return not norm_finite

    # ── the stream ───────────────────────────────────────────────────────────────────────────────────────────────
    def seek(self, state: dict[str, Any]) -> None:
        """Goes to a place of the stream; the next batch is the one that came next when it was noted."""
        self.batches, self._records = [], None
        self.stream.restore(state)

    def _draw(self) -> list[Record]:
        """The batches of the next step; shunned ones are drawn and dropped."""
        if self._records is None:
            self._records = iter(self.stream)
        wanted = factor_at(self.ramp, self.step)
        batches: dict[int, Record] = {}
        while len(batches) < wanted:
            record = next(self._records)
            if not isinstance(record, self.objective.reads):
                reads, given = self.objective.reads.__name__, type(record).__name__
                raise ConfigError(f"the objective reads {reads} records, but the data gives {given}")
            if self.drawn not in self.shunned:
                batches[self.drawn] = record
            self.drawn += 1
        self.drawn_now = tuple(batches)
        return list(batches.values())


def _slots(batch: Record) -> int:
    return batch.tokens.numel() if isinstance(batch, Batch) else len(batch)


def _real(batch: Record) -> int:
    """Real tokens of a batch: those of a document, not padding."""
    return int((batch.segment != 0).sum()) if isinstance(batch, Batch) else len(batch)
