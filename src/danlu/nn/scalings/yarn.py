"""YaRN: fast waves stay, slow waves are interpolated, attention is sharpened."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import SCALINGS, Scaling, above_zero, plain, rising


@SCALINGS.add("yarn")
class Yarn(Scaling):
    """Interpolates a wave the more, the fewer turns it made within the ``original`` length.

    θ'_i = θ_i · (1 - r_i) + θ_i / factor · r_i,  r_i rising linearly in i from 0 at the wave with ``fast`` turns to 1
    at the one with ``slow`` turns (ends rounded outward if ``truncate``); gain = 0.1 ln(factor) + 1 unless given.
    Raises: ConfigError if factor or original is not above 0, or fast not above slow.
    Source: Peng et al. 2023, arXiv:2309.00071, eqs. 17–22; the released code for the ramp over i and its rounding.
    Truth:  tests/truth/test_rope_scalings.py (shared reference values; transformers' values over settings).
    """

    def __init__(
        self,
        *,
        factor: float,
        original: int = 2048,
        fast: float = 32.0,
        slow: float = 1.0,
        truncate: bool = True,
        gain: float | None = None,
    ) -> None:
        above_zero(factor=factor, original=original)
        rising(slow, fast)
        self.factor, self.original, self.fast, self.slow = factor, original, fast, slow
        self.truncate = truncate
        self.gain = gain if gain is not None else 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        first, last = self._turns_at(self.fast, size, base), self._turns_at(self.slow, size, base)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, size - 1)
        last += 0.001 if first == last else 0.0  # a ramp of no width is a step
        ramp = ((torch.arange(size // 2, device="cpu", dtype=torch.float32) - first) / (last - first)).clamp(0, 1)
        waves = plain(size, base)
        return waves / self.factor * ramp + waves * (1 - ramp), self.gain

    def _turns_at(self, turns: float, size: int, base: float) -> float:
        """The (fractional) index of the wave that turns so often within the original length."""
        return size * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(base))
