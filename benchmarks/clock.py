"""A hook for danlu's runs that notes the CPU seconds at the end of each step and how many real tokens it took."""

from __future__ import annotations

import time

from danlu.train.hooks import Ask, Hook
from danlu.train.numbers import Numbers


class Mark(Hook):
    """``{use: "clock:Mark"}`` in a recipe; what it noted is in ``Mark.ends`` and ``Mark.tokens``."""

    ends: list[float] = []
    tokens: list[int] = []

    def after(self, numbers: Numbers) -> Ask:
        self.ends.append(time.process_time())
        self.tokens.append(numbers.tokens)
        return Ask()
