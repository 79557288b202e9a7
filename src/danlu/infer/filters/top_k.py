"""Only the k likeliest tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("top_k")
class TopK(Filter):
    """Keeps the k likeliest tokens and whatever ties with the last of them; 0 keeps all.

    logits: (B, V).  Raises: ConfigError if k is negative or not whole.
    Source: Fan, Lewis, Dauphin 2018, arXiv:1805.04833, §5.4.
    Truth:  tests/truth/test_filtering.py (transformers' TopKLogitsWarper; ties by hand).
    """

    order = 20
    neutral = 0
    strong = 3
    wrong = (-1, 0.5, float("nan"))
    shapes = True

    def __init__(self, *, value: int) -> None:
        if not (0 <= value < float("inf") and value == int(value)):
            raise ConfigError(f"top_k {value}: must be a whole number, 0 (keep all) or above")
        self.value = int(value)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        if not 0 < self.value < logits.shape[-1]:
            return logits
        last = logits.topk(self.value, dim=-1).values[..., -1:]  # (B, 1)
        return logits.masked_fill(logits < last, float("-inf"))
