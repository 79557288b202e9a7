"""How the learning rate moves over a run: a factor of its peak at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...core.errors import ConfigError
from ...core.registry import Registry


class Schedule(ABC):
    """Rises over ``warmup`` (steps, or a share of the run below 1), then follows ``after`` down to ``floor``.

    lr(step) = peak · factor(step), step = 1 … steps.
    """

    def __init__(self, steps: int, warmup: float, floor: float) -> None:
        if warmup < 0 or (isinstance(warmup, float) and warmup > 1 and not warmup.is_integer()):
            raise ConfigError(f"schedule: warmup is steps (a whole number) or a share below 1, not {warmup}")
        if not 0 <= floor <= 1:
            raise ConfigError(f"schedule: floor is a share of the peak learning rate in [0, 1], not {floor}")
        self.steps, self.floor = steps, floor
        self.warmup = round(warmup * steps) if warmup < 1 else int(warmup)

    def factor(self, step: int) -> float:
        """The multiple of the peak learning rate at ``step``, counted from 1."""
        if step <= self.warmup:
            return step / self.warmup
        return self.after(step)

    def progress(self, step: int) -> float:
        """0 at the end of warm-up, 1 at the last step."""
        return min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))

    def down(self, share: float) -> float:
        """From 1 at share 1 to the floor at share 0."""
        return self.floor + (1 - self.floor) * share

    @abstractmethod
    def after(self, step: int) -> float:
        """The factor after warm-up."""


SCHEDULES: Registry[type[Schedule]] = Registry("schedule", Schedule, __name__)
