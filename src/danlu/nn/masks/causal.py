"""Attention to the past and to oneself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import MASKS, Mask, Range


@MASKS.add("causal")
@dataclass(frozen=True)
class Causal(Mask):
    """A query sees itself and what came before.

    allowed(q, k) = k ≤ q
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.3 (decoder self-attention).
    Truth:  tests/truth/test_masks.py (a table written out by hand).
    """

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return k <= q

    def meets(self, q: Range, k: Range) -> Tensor:
        return k[0] <= q[1]
