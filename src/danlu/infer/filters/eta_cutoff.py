"""Only tokens that are likely enough for how sure the law is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rows import Row
from . import FILTERS, Cutoff


@FILTERS.add("eta_cutoff")
class EtaCutoff(Cutoff):
    """Drops tokens under a threshold that falls where the entropy H is high; the likeliest stays.

    Token i goes if p_i < min(ε, √ε · exp(-H)).  logits: (B, V).  Raises: ConfigError if ε is not within [0, 1).
    Source: Hewitt, Manning, Liang 2022, arXiv:2210.15191, §4.2.
    Truth:  tests/parity/test_filters.py (transformers' EtaLogitsWarper).
    """

    order = 70

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        logprobs = logits.log_softmax(-1)
        law, best = logprobs.exp(), logits.amax(-1, keepdim=True)
        entropy = -(law * logprobs).nansum(-1, keepdim=True)  # (B, 1)
        least = (self.value**0.5 * (-entropy).exp()).clamp(max=self.value)
        return logits.masked_fill((law < least) & (logits < best), float("-inf"))
