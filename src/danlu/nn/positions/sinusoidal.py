"""Fixed waves added to the embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Layout
from . import POSITIONS, Position


@POSITIONS.add("sinusoidal")
class Sinusoidal(Position):
    """Adds sines and cosines of the position, the wavelengths a geometric series from 2π to 2π · base tokens.

    P[t, 2i] = sin(t / base^(2i / M)),  P[t, 2i + 1] = cos(t / base^(2i / M));  with ``halves``, as Marian lays them
    out, all sines and then all cosines: P[t, i] and P[t, i + M/2]
    Raises: ConfigError if the model's width is odd.
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.5.
    Truth:  tests/truth/test_position_encodings.py (the formula with math.sin; a shift is a rotation).
    """

    def __init__(self, dims: Dims, *, base: float = 10_000.0, halves: bool = False) -> None:
        super().__init__(dims)
        if dims.model % 2:
            raise ConfigError(f"sinusoidal positions need an even width, found model = {dims.model}")
        self.waves, self.halves = wavelengths(dims.model, base), halves

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        position = layout.position[:1] if layout.plain else layout.position
        return x + waving(position, self.waves, halves=self.halves).to(x.dtype)


def wavelengths(channels: int, base: float) -> Tensor:
    """base^(-2i / channels) for i < channels / 2, in radians a token, on the host."""
    return base ** -(torch.arange(0, channels, 2, device="cpu", dtype=torch.float32) / channels)


def waving(position: Tensor, waves: Tensor, *, halves: bool = False) -> Tensor:
    """Sines and cosines in turn, or all sines first.  (B, T) → (B, T, channels)."""
    angle = position[..., None].float() * waves.to(position.device)
    return torch.stack([angle.sin(), angle.cos()], -2 if halves else -1).flatten(-2)
