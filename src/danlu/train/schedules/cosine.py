"""Half a cosine wave."""

from __future__ import annotations

import math

from . import SCHEDULES, Schedule


@SCHEDULES.add("cosine")
class Cosine(Schedule):
    """Falls along half a cosine wave from the peak to the floor, which it reaches at the last step.

    factor = floor + (1 - floor) · (1 + cos(π · progress)) / 2.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, one period.
    Truth:  tests/truth/test_schedules.py (transformers' own schedule; values worked by hand).
    """

    def __init__(self, steps: int, *, warmup: float = 0.03, floor: float = 0.1) -> None:
        super().__init__(steps, warmup, floor)

    def after(self, step: int) -> float:
        return self.down((1 + math.cos(math.pi * self.progress(step))) / 2)
