"""The schedule of the first Transformer."""

from __future__ import annotations

import math

from ...core.errors import ConfigError
from . import SCHEDULES, Schedule


@SCHEDULES.add("inverse_sqrt")
class InverseSqrt(Schedule):
    """Falls with the square root of the step and knows no end: a run can always go on.

    factor = √(warmup / step).

    Raises: ConfigError without warm-up, which sets the scale of the decay.
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 3, as a factor of its peak.
    Truth:  tests/truth/test_schedules.py (the paper's formula divided by its value at warm-up).
    """

    def __init__(self, steps: int, *, warmup: float = 0.03) -> None:
        super().__init__(steps, warmup, 0.0)
        if not self.warmup:
            raise ConfigError(
                f"schedule inverse_sqrt: warmup must be at least one step, found {warmup} of {steps} steps"
            )

    def after(self, step: int) -> float:
        return math.sqrt(self.warmup / step)
