"""A hook for danlu's runs that notes when each step ended and how many real tokens it took."""

from __future__ import annotations

import time

from danlu.train.hooks import Ask, Hook
from danlu.train.numbers import Numbers


class Mark(Hook):
    """``{use: "clock:Mark"}`` in a recipe; what it noted is in ``Mark.ends`` and ``Mark.tokens``."""

    ends: list[float] = []
    tokens: list[int] = []

    def after(self, numbers: Numbers) -> Ask:
        self.ends.append(time.perf_counter())
        self.tokens.append(numbers.tokens)
        return Ask()
