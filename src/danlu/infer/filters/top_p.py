"""Only the smallest set of likeliest tokens that holds a share p of the probability (nucleus sampling)."""

from __future__ import annotations

from torch import Tensor

from ...core.errors import ConfigError
from . import FILTERS, Filter


@FILTERS.add("top_p")
class TopP(Filter):
    """Drops the unlikeliest tokens as long as what is dropped holds at most 1 - p; the likeliest always stays.

    With probabilities in rising order, token i goes if Σ_{j ≤ i} p_j ≤ 1 - p.  logits: (B, V).
    Raises: ConfigError if p is not within (0, 1].
    Source: Holtzman et al. 2020, arXiv:1904.09751, §3.1.
    Truth:  tests/truth/test_filtering.py (transformers' TopPLogitsWarper; a law of four by hand).
    """

    order = 30
    neutral = 1.0
    strong = 0.3

    def __init__(self, *, value: float) -> None:
        if not 0 < value <= 1:
            raise ConfigError(f"top_p {value}: must lie within (0, 1]; 1 keeps all")
        self.value = value

    def __call__(self, logits: Tensor) -> Tensor:
        rising, order = logits.sort(dim=-1)
        gone = rising.softmax(-1).cumsum(-1) <= 1 - self.value
        gone[..., -1] = False
        return logits.masked_fill(gone.scatter(-1, order, gone), float("-inf"))
