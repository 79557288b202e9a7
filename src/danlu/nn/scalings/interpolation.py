"""Position interpolation."""

from __future__ import annotations

from torch import Tensor

from . import SCALINGS, Scaling, above_zero, plain


@SCALINGS.add("interpolation")
class Interpolation(Scaling):
    """Squeezes positions linearly into the trained length; wants fine-tuning.

    θ'_i = θ_i / factor, gain 1
    Raises: ConfigError if factor is not above 0.
    Source: Chen et al. 2023, arXiv:2306.15595, eq. 4.
    Truth:  tests/truth/test_rope_scalings.py (shared reference values; position factor · t turns as t did).
    """

    def __init__(self, *, factor: float) -> None:
        above_zero(factor=factor)
        self.factor = factor

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return plain(size, base) / self.factor, 1.0
