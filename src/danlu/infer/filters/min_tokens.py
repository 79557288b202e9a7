"""No end before so many tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..marks import without
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("min_tokens")
class MinTokens(Filter):
    """Forbids the tokens that end a text until n were chosen; the value is (n, ids).

    logits: (B, V).  Raises: ConfigError if n is negative or not whole.
    Source: Wolf et al. 2020, arXiv:1910.03771 (transformers, ``min_new_tokens``).
    Truth:  tests/parity/test_filters.py (transformers' MinNewTokensLengthLogitsProcessor).
    """

    order = 7
    neutral = (0, ())
    strong = (9, (2, 3))
    wrong = ((-1, ()), (0.5, ()), (float("nan"), ()))

    def __init__(self, *, value: tuple[int, Sequence[int]]) -> None:
        self.least, self.ends = value
        if not (0 <= self.least < float("inf") and self.least == int(self.least)):
            raise ConfigError(f"min_tokens {self.least}: must be a whole number, 0 or above")

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return without(logits, (self.ends if len(row.tokens) < self.least else () for row in rows))
