"""No run of n tokens twice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ...core.errors import ConfigError
from ..marks import without
from ..memories import Memories, Successors
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("no_repeat_ngram_size")
class NoRepeatNgram(Filter):
    """Forbids each token that would make a run of n tokens which prompt and answer hold already.

    With a text w_1 … w_t, token v goes if w_i … w_{i+n-2} = w_{t-n+2} … w_t and w_{i+n-1} = v for some i.
    logits: (B, V).  Raises: ConfigError if n is negative or not whole.
    Source: Paulus, Xiong, Socher 2018, arXiv:1705.04304, §2.5.
    Truth:  tests/truth/test_filtering_history.py (by hand); tests/parity/test_filters.py (transformers' processor).
    """

    order = 3
    neutral = 0
    strong = 1
    wrong = (-1, 0.5, float("nan"))

    def __init__(self, *, value: int) -> None:
        if not (0 <= value < float("inf") and value == int(value)):
            raise ConfigError(f"no_repeat_ngram_size {value}: must be a whole number, 0 (repeat freely) or above")
        self.value = int(value)
        self.memories = Memories(partial(Successors, size=self.value - 1), prompts=True)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return without(logits, (self._repeats(row) for row in rows)) if self.value else logits

    def _repeats(self, row: Row) -> set[int]:
        kept = self.memories.of(row)
        return {kept.text[place] for place in kept.places()}
