"""Only tokens that are not much unlikelier than the likeliest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("min_p")
class MinP(Filter):
    """Drops tokens with less than the share m of the likeliest token's probability.

    Token i goes if p_i < m · max_j p_j.  logits: (B, V).  Raises: ConfigError if m is not within [0, 1].
    Source: Nguyen et al. 2024, arXiv:2407.01082, §3.
    Truth:  tests/parity/test_filters.py (transformers' MinPLogitsWarper); tests/truth/test_filtering.py (by hand).
    """

    order = 40
    neutral = 0.0
    strong = 0.3
    wrong = (-0.5, 1.5, float("nan"))
    shapes = True

    def __init__(self, *, value: float) -> None:
        if not 0 <= value <= 1:
            raise ConfigError(f"min_p {value}: must lie within [0, 1]; 0 keeps all")
        self.value = value

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        law = logits.softmax(-1)
        best = law.amax(-1, keepdim=True)  # (B, 1)
        return logits.masked_fill((law < self.value * best) & (law < best), float("-inf"))
