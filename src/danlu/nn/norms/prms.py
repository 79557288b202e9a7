"""Root-mean-square normalization by the size of a part of the channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.errors import ConfigError
from . import NORMS, Norm


@NORMS.add("prms")
class PartialRmsNorm(Norm):
    """Divides each vector by the root mean square of its first channels only, then scales it.

    y = x / sqrt(mean(x_1² … x_k²) + eps) · w,  k = ⌈share · size⌉;  computed in float32 at least. The paper takes
    6.25 % of 512 and more channels; narrow vectors need a larger share for a steady estimate.
    Raises: ConfigError if ``share`` is not within (0, 1].
    Source: Zhang, Sennrich 2019, arXiv:1910.07467, §4 (pRMSNorm).
    Truth:  tests/truth/test_norm_formulas.py (the formula in float64; share 1 is RMSNorm; finite differences).
    """

    def __init__(self, size: int, *, share: float = 0.25, eps: float = 1e-6) -> None:
        super().__init__(size)
        if not 0 < share <= 1:
            raise ConfigError(f"norm prms: share must lie in (0, 1], found {share}; the paper takes 0.0625")
        self.first, self.eps = math.ceil(size * share), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        rstd = wide[..., : self.first].square().mean(-1, keepdim=True).add(self.eps).rsqrt()
        return (wide * rstd * self.weight).to(x.dtype)
