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

    P[t, 2i] = sin(t / base^(2i / M)),  P[t, 2i + 1] = cos(t / base^(2i / M))
    Raises: ConfigError if the model's width is odd.
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.5.
    Truth:  tests/truth/test_position_encodings.py (the formula with math.sin; a shift is a rotation).
    """

    def __init__(self, dims: Dims, *, base: float = 10_000.0) -> None:
        super().__init__(dims)
        if dims.model % 2:
            raise ConfigError(f"sinusoidal positions need an even width, found model = {dims.model}")
        exponent = torch.arange(0, dims.model, 2, device="cpu", dtype=torch.float32) / dims.model
        self.waves = base**-exponent

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        position = layout.position[:1] if layout.plain else layout.position
        angle = position[..., None].float() * self.waves.to(position.device)  # (B, T, M / 2)
        return x + torch.stack([angle.sin(), angle.cos()], -1).flatten(-2).to(x.dtype)
