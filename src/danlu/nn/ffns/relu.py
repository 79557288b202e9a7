"""The feed-forward of the first Transformer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..layout import Layout
from . import FFNS, Ffn


@FFNS.add("relu")
class Relu(Ffn):
    """Two linear maps with a rectifier between.

    y = W_down max(0, W_up x)
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 2.
    Truth:  tests/truth/test_ffn_formulas.py (the formula in float64; gradient by finite differences).
    """

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.down(F.relu(self.up(x)))
