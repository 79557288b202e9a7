"""NTK-by-parts: each wave is treated by how often it turned within the trained length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import SCALINGS, Scaling, above_zero, plain, rising


@SCALINGS.add("ntk_parts")
class NtkParts(Scaling):
    """Keeps waves of more than ``fast`` turns in the ``original`` length, interpolates those of fewer than ``slow``.

    θ'_i = (1 - s) θ_i / factor + s θ_i,  s = clamp((original · θ_i / 2π - slow) / (fast - slow), 0, 1), gain 1
    LLaMA 3.1 has the same formula with other settings; YaRN ramps over i instead, and sharpens attention.
    Raises: ConfigError if factor or original is not above 0, or fast not above slow.
    Source: bloc97 2023, "NTK-by-parts", stated in Peng et al. 2023, arXiv:2309.00071, §3.2, definition 2.
    Truth:  tests/truth/test_rope_scalings.py (the definition in Python floats; transformers' llama3 at its settings).
    """

    def __init__(self, *, factor: float, original: int = 2048, fast: float = 32.0, slow: float = 1.0) -> None:
        above_zero(factor=factor, original=original)
        rising(slow, fast)
        self.factor, self.original, self.fast, self.slow = factor, original, fast, slow

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return by_turns(plain(size, base), self.factor, self.original, self.slow, self.fast), 1.0


def by_turns(waves: Tensor, factor: float, original: int, slow: float, fast: float) -> Tensor:
    """Waves divided by ``factor`` at ``slow`` turns within ``original`` tokens, kept at ``fast``, blended between."""
    length = 2 * math.pi / waves  # tokens a turn
    share = ((original / length - slow) / (fast - slow)).clamp(0, 1)
    blended = (1 - share) * waves / factor + share * waves
    return torch.where(share >= 1, waves, blended)
