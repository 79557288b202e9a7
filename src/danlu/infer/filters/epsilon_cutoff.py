"""Only tokens that are likely enough."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rows import Row
from . import FILTERS, Cutoff


@FILTERS.add("epsilon_cutoff")
class EpsilonCutoff(Cutoff):
    """Drops tokens whose probability is under ε; the likeliest stays.

    Token i goes if p_i < ε.  logits: (B, V).  Raises: ConfigError if ε is not within [0, 1).
    Source: Hewitt, Manning, Liang 2022, arXiv:2210.15191, §4.1.
    Truth:  tests/parity/test_filters.py (transformers' EpsilonLogitsWarper).
    """

    order = 60

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        best = logits.amax(-1, keepdim=True)  # (B, 1)
        return logits.masked_fill((logits.softmax(-1) < self.value) & (logits < best), float("-inf"))
