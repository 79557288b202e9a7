"""No scaling."""

from __future__ import annotations

from torch import Tensor

from . import SCALINGS, Scaling, plain


@SCALINGS.add("none")
class Unscaled(Scaling):
    """RoPE as it was trained.

    θ_i = base^(-2i / D), gain 1
    Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
    Truth:  tests/truth/test_rope_scalings.py (shared reference values; ratios of a geometric series).
    """

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return plain(size, base), 1.0
