"""Attention to the past, and within the prefix that a call names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import MASKS, Mask, Range
from .causal import Causal


@MASKS.add("prefixed")
@dataclass(frozen=True)
class Prefixed(Mask):
    """Causal, but for a prefix of each document that its own tokens see whole: the prompt, where text is generated.

    allowed(q, k) = turn(k) ≤ turn(q),  turn = n - 1 within a prefix of n tokens, the position after it
    The prefix comes with the call (``Layout.order``: the objective ``prefix`` draws one a document), not with the mask.
    Source: Raffel et al. 2019, arXiv:1910.10683, §3.2.1; Dong et al. 2019, arXiv:1905.03197, §2.2.
    Truth:  tests/truth/test_prefixed.py (a table by hand; generated text by whole passes; gradients show who saw whom).
    """

    @property
    def ahead(self) -> bool:
        return True

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return k <= q

    def meets(self, q: Range, k: Range) -> Tensor:
        return k[0] <= q[1]

    def within(self, length: int) -> Mask:
        """Turns are compared as a causal mask does, so that kernels recognize it."""
        return Causal()
