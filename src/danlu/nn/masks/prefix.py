"""Attention to a prefix that everyone sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import MASKS, Mask, Range


@MASKS.add("prefix")
@dataclass(frozen=True, kw_only=True)
class Prefix(Mask):
    """Every query sees the first ``length`` positions of its document; ``causal | prefix`` is a prefix language model.

    allowed(q, k) = k < length
    Source: Raffel et al. 2019, arXiv:1910.10683, §3.2.1; Dong et al. 2019, arXiv:1905.03197, §2.2.
    Truth:  tests/truth/test_masks.py (a table written out by hand).
    """

    length: int

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (k < self.length) & (q == q)

    def meets(self, q: Range, k: Range) -> Tensor:
        return (k[0] < self.length) & (q[0] == q[0])
