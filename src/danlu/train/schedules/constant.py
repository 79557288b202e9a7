"""No change."""

from __future__ import annotations

from . import SCHEDULES, Schedule


@SCHEDULES.add("constant")
class Constant(Schedule):
    """Stays at the peak after warm-up.

    factor = 1.

    Source: Robbins & Monro 1951 ask for a falling rate; a constant one is the baseline that schedules are held against.
    Truth:  tests/truth/test_schedules.py (values worked by hand).
    """

    def __init__(self, steps: int, *, warmup: float = 0.0) -> None:
        super().__init__(steps, warmup, 1.0)

    def after(self, step: int) -> float:
        return 1.0
