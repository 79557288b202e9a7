"""Normalize after each sublayer."""

from __future__ import annotations

from torch import Tensor

from ..layout import Layout
from . import WIRINGS, Wiring


@WIRINGS.add("post")
class PostNorm(Wiring):
    """Each sublayer reads the residual stream and the sum of both is normalized.

    x ← norm(x + f(x)), for each sublayer f in turn
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.1.
    Truth:  tests/truth/test_block_wirings.py (the recursion by hand on sublayers of one number).
    """

    final_norm = False

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for name, norm in self.norms.items():
            x = norm(x + self.run(name, x, layout))
        return x
