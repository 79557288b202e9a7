"""Warm-up, stable, decay."""

from __future__ import annotations

from ...core.errors import ConfigError
from . import SCHEDULES, Schedule


@SCHEDULES.add("wsd")
class WarmupStableDecay(Schedule):
    """Stays at the peak and falls only in the last steps, so that a run can be continued from before its decay.

    factor = 1 until decay begins; then floor^((step - begin) / decay): exponential, reaching the floor at the end.
    ``decay`` is steps, or a share of the run below 1.

    Raises: ConfigError if decay does not fit behind warm-up, or the floor is 0 (which no exponential reaches).
    Source: Hu et al. 2024, arXiv:2404.06395 (MiniCPM), §4.2, exponential annealing.
    Truth:  tests/truth/test_schedules.py (values worked by hand).
    """

    def __init__(self, steps: int, *, warmup: float = 0.03, decay: float = 0.1, floor: float = 0.1) -> None:
        super().__init__(steps, warmup, floor)
        self.decay = round(decay * steps) if decay < 1 else int(decay)
        if floor == 0:
            raise ConfigError("schedule wsd: floor must be above 0, for example 0.1; its decay is exponential")
        if not 0 <= self.decay <= steps - self.warmup:
            raise ConfigError(
                f"schedule wsd: decay ({self.decay} steps) does not fit behind warm-up ({self.warmup}) in {steps} steps"
            )

    def after(self, step: int) -> float:
        falling = step - (self.steps - self.decay)
        return self.floor ** min(1.0, falling / self.decay) if falling > 0 else 1.0
