"""The feed-forward of translation models trained by Marian."""

from __future__ import annotations

from torch import Tensor

from ..activation import SILU
from ..layout import Layout
from ..remade import remade
from . import FFNS, Ffn


@FFNS.add("swish")
class Swish(Ffn):
    """Two linear maps with x · sigmoid(x) between, not gated.

    y = W_down (h σ(h)),  h = W_up x
    Source: Ramachandran et al. 2017, arXiv:1710.05941, eq. 1 (β = 1).
    Truth:  tests/truth/test_ffn_formulas.py (math.exp; gradient by finite differences).
    """

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        up = self.up(x)
        active = SILU.of(up)
        with remade(active, SILU.of, up):
            return self.down(active)
