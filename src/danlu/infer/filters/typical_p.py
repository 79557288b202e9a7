"""Only tokens about as surprising as the law itself expects (locally typical sampling)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rows import Row
from . import FILTERS, Share


@FILTERS.add("typical_p")
class TypicalP(Share):
    """Keeps the tokens whose surprise is nearest the entropy, until they hold a share p of the probability.

    With distances |-log p_i - H| in rising order, tokens stay until Σ p_i ≥ p, and what ties with the last of them;
    the likeliest token may go.  logits: (B, V).  Raises: ConfigError if p is not within (0, 1].
    Source: Meister et al. 2023, arXiv:2202.00666, §4.
    Truth:  tests/parity/test_filters.py (transformers' TypicalLogitsWarper); tests/truth/test_filtering.py (by hand).
    """

    order = 50

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        surprise = -logits.log_softmax(-1)
        entropy = (surprise * (-surprise).exp()).nansum(-1, keepdim=True)  # (B, 1)
        near, order = (surprise - entropy).abs().sort(dim=-1)
        held = logits.gather(-1, order).softmax(-1).cumsum(-1)
        last = (held < self.value).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
        gone = near > near.gather(-1, last)
        return logits.masked_fill(gone.scatter(-1, order, gone), float("-inf"))
