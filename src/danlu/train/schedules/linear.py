"""A straight line."""

from __future__ import annotations

from . import SCHEDULES, Schedule


@SCHEDULES.add("linear")
class Linear(Schedule):
    """Falls along a straight line from the peak to the floor, which it reaches at the last step.

    factor = floor + (1 - floor) · (1 - progress).

    Source: Devlin et al. 2019, arXiv:1810.04805, appendix A.2 (warm-up, then linear decay).
    Truth:  tests/truth/test_schedules.py (transformers' own schedule; values worked by hand).
    """

    def __init__(self, steps: int, *, warmup: float = 0.03, floor: float = 0.0) -> None:
        super().__init__(steps, warmup, floor)

    def after(self, step: int) -> float:
        return self.down(1 - self.progress(step))
