"""The scaling of LLaMA 3.1 and 3.2."""

from __future__ import annotations

from torch import Tensor

from . import SCALINGS, Scaling, above_zero, plain, rising
from .ntk_parts import by_turns


@SCALINGS.add("llama3")
class Llama3(Scaling):
    """Keeps waves shorter than original / high tokens, interpolates those longer than original / low, blends between.

    θ'_i = (1 - s) θ_i / factor + s θ_i,  s = clamp((original · θ_i / 2π - low) / (high - low), 0, 1), gain 1
    Raises: ConfigError if factor or original is not above 0, or high not above low.
    Source: Grattafiori et al. 2024, arXiv:2407.21783, §3.4.2; Meta's released llama-models, ``apply_scaling``.
    Truth:  tests/truth/test_rope_scalings.py (transformers' values over settings; the two ends by hand).
    """

    def __init__(self, *, factor: float = 8.0, low: float = 1.0, high: float = 4.0, original: int = 8192) -> None:
        above_zero(factor=factor, original=original)
        rising(low, high)
        self.factor, self.low, self.high, self.original = factor, low, high, original

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return by_turns(plain(size, base), self.factor, self.original, self.low, self.high), 1.0
