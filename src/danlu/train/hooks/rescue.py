"""Going back when a run goes wrong."""

from __future__ import annotations

import math
from collections import deque

from ...core.errors import ConfigError, DanluError
from ..numbers import Numbers
from . import HOOKS, Ask, Hook, Sight

LEAST_RISE = 1.0  # nats: small losses triple by chance


@HOOKS.add("rescue")
class Rescue(Hook):
    """Goes back to the last good checkpoint and skips the batch when a loss is not finite or explodes.

    Exploding: above ``when_loss_exceeds`` × the mean of the last ``window`` losses and 1 nat more than it, or a
    gradient longer than ``when_norm_exceeds`` × theirs. The layer and rows are named in the log. After ``retries``
    rescues in a row, with no ``window`` of good steps between, the run stops with an error.

    Raises: ConfigError if a setting is out of range.
    Source: Chowdhery et al. 2022, arXiv:2204.02311, §5.1 (restart before the spike, skip the batches around it).
    Truth:  tests/faults/test_train_rescue.py (planted faults are named, skipped, and never reach the weights).
    """

    turn = 0
    hears_faults = True

    def __init__(
        self,
        *,
        when_loss_exceeds: float = 3.0,
        when_norm_exceeds: float | None = None,
        window: int = 20,
        retries: int = 3,
    ) -> None:
        if not float(when_loss_exceeds) > 1 or window < 1 or retries < 1:
            raise ConfigError("hook rescue: when_loss_exceeds is above 1, window and retries are at least 1")
        self.loss_factor, self.norm_factor = float(when_loss_exceeds), when_norm_exceeds and float(when_norm_exceeds)
        self.window, self.retries = window, retries
        self.losses: deque[float] = deque(maxlen=window)
        self.norms: deque[float] = deque(maxlen=window)
        self.rescues, self.failed_at = 0, 0

    def begin(self, sight: Sight) -> Ask:
        super().begin(sight)
        self.rewound(sight.start)
        return Ask(save=sight.start == 0)

    def after(self, numbers: Numbers) -> Ask:
        if fault := self._fault(numbers):
            return self._rescued(numbers, fault)
        if numbers.step > self.failed_at + self.window:
            self.rescues = 0
        if not numbers.skipped:
            self.losses.append(numbers.loss)
            self.norms.append(numbers.norm)
        return Ask()

    def rewound(self, step: int) -> None:
        """The means are those of the steps that the run now stands on."""
        for kept, name in ((self.losses, "loss"), (self.norms, "norm")):
            kept.clear()
            kept.extend(
                line[name] for line in self.sight.recorded() if line["step"] <= step and line.get(name) is not None
            )

    def _fault(self, numbers: Numbers) -> str:
        if not numbers.finite:
            return f"the loss is {numbers.loss:g} and the norm of its gradient {numbers.norm:g}"
        if numbers.skipped or len(self.losses) < self.window:
            return ""
        usual, norm = (math.fsum(kept) / self.window for kept in (self.losses, self.norms))
        if numbers.loss > max(self.loss_factor * usual, usual + LEAST_RISE):
            return f"the loss is {numbers.loss:.4g}, and {usual:.4g} was usual"
        if self.norm_factor and numbers.norm > self.norm_factor * norm:
            return f"the norm of the gradient is {numbers.norm:.4g}, and {norm:.4g} was usual"
        return ""

    def _rescued(self, numbers: Numbers, fault: str) -> Ask:
        sentence = f"step {numbers.step}: {fault}: {self.sight.blame()}"
        self.rescues += 1
        self.failed_at = max(self.failed_at, numbers.step)
        if self.rescues > self.retries:
            raise DanluError(
                f"{sentence}; gave up after {self.retries} rescues in a row: lower optim.lr or look at these rows"
            )
        self.sight.note(f"{sentence}; going back to the last checkpoint and skipping batches {_list(numbers.batches)}")
        return Ask(rewind=sentence)


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
