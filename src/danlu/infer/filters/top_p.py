"""Only the smallest set of likeliest tokens that holds a share p of the probability (nucleus sampling)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rows import Row
from . import FILTERS, Share

SMALL = 4096  # a vocabulary of so many tokens is sorted whole
LIKELIEST = 256  # of a larger one so many at first: sorting 32,000 tokens takes 20 times as long


@FILTERS.add("top_p")
class TopP(Share):
    """Drops the unlikeliest tokens as long as what is dropped holds at most 1 - p; the likeliest always stays.

    With probabilities in rising order, token i goes if Σ_{j ≤ i} p_j ≤ 1 - p.  logits: (B, V).
    Raises: ConfigError if p is not within (0, 1].
    Source: Holtzman et al. 2020, arXiv:1904.09751, §3.1.
    Truth:  tests/truth/test_filtering.py (transformers' TopPLogitsWarper; a law of four by hand).
    """

    order = 30

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return self._nucleus(logits, LIKELIEST if logits.shape[-1] > SMALL else logits.shape[-1])

    def _nucleus(self, logits: Tensor, width: int) -> Tensor:
        """Sorts only the ``width`` likeliest, and more of them where the rest holds more than may be dropped."""
        if width < logits.shape[-1]:
            rising, order = (found.flip(-1) for found in logits.topk(width, dim=-1))
            law = (rising - logits.logsumexp(-1, keepdim=True)).exp()
            rest = 1 - law.sum(-1, keepdim=True)  # (B, 1)
        else:
            rising, order = logits.sort(dim=-1)
            law, rest = rising.softmax(-1), logits.new_zeros(len(logits), 1)
        gone = law.cumsum(-1) + rest <= 1 - self.value
        gone[..., -1] = False
        kept = torch.full_like(logits, float("-inf")).scatter(-1, order, rising.masked_fill(gone, float("-inf")))
        short = rest[:, 0] > 1 - self.value
        if short.any():
            kept[short] = self._nucleus(logits[short], 8 * width)
        return kept
