"""The scaling of LLaMA 3.1 and 3.2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import SCALINGS, Scaling, plain


@SCALINGS.add("llama3")
class Llama3(Scaling):
    """Keeps waves shorter than original / high tokens, interpolates those longer than original / low, blends between.

    θ'_i = (1 - s) θ_i / factor + s θ_i,  s = clamp((original · θ_i / 2π - low) / (high - low), 0, 1), gain 1
    Source: Grattafiori et al. 2024, arXiv:2407.21783, §3.4.2; Meta's released llama-models, ``apply_scaling``.
    Truth:  tests/truth/test_rope_scalings.py (transformers' values over settings; the two ends by hand).
    """

    def __init__(self, *, factor: float = 8.0, low: float = 1.0, high: float = 4.0, original: int = 8192) -> None:
        self.factor, self.low, self.high, self.original = factor, low, high, original

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        waves = plain(size, base)
        length = 2 * math.pi / waves  # tokens a turn
        share = ((self.original / length - self.low) / (self.high - self.low)).clamp(0, 1)
        blended = (1 - share) * waves / self.factor + share * waves
        return torch.where(share >= 1, waves, blended), 1.0
