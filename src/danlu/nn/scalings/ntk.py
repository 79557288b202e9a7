"""NTK-aware scaling: the base is stretched, not the positions."""

from __future__ import annotations

from torch import Tensor

from ...core.errors import ConfigError
from . import SCALINGS, Scaling, above_zero, plain


@SCALINGS.add("ntk")
class Ntk(Scaling):
    """Raises the base so that the slowest wave is interpolated by ``factor`` and the fastest not at all.

    θ'_i = (base · factor^(D / (D - 2)))^(-2i / D), gain 1
    Raises: ConfigError if factor is not above 0, or fewer than 4 channels turn.
    Source: bloc97 2023, "NTK-Aware Scaled RoPE", quoted in Peng et al. 2023, arXiv:2309.00071, eq. 16.
    Truth:  tests/truth/test_rope_scalings.py (first wave unchanged, last wave exactly 1 / factor; shared formula).
    """

    def __init__(self, *, factor: float) -> None:
        above_zero(factor=factor)
        self.factor = factor

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return plain(size, self.stretched(size, base)), 1.0

    def stretched(self, size: int, base: float) -> float:
        """The base whose plain waves these are."""
        if size < 4:
            raise ConfigError(f"ntk needs a slowest wave beside the fastest, so 4 channels that turn, found {size}")
        return base * self.factor ** (size / (size - 2))
