"""Layer normalization: mean and variance of the channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..linear import Birth
from . import NORMS, Norm


@NORMS.add("layer")
class LayerNorm(Norm):
    """Centers each vector and brings it to unit variance, then scales and shifts it.

    y = (x - mean(x)) / sqrt(var(x) + eps) · w + b,  over the last axis; the variance is the biased one.
    Without ``bias`` there is no b.
    Source: Ba et al. 2016, arXiv:1607.06450, eq. 4.
    Truth:  tests/truth/test_norm_formulas.py (the formula in float64; gradient by finite differences).
    """

    def __init__(self, size: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__(size)
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def born(self, birth: Birth) -> None:
        super().born(birth)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
