"""Fixed waves over a plane."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Layout
from . import POSITIONS, Position
from .sinusoidal import wavelengths, waving


@POSITIONS.add("sinusoidal2d")
class Sinusoidal2d(Position):
    """Adds the waves of the position to the first half of the channels and those of ``layout.inner`` to the second.

    P[r, c] = [S(r), S(c)],  S(t)_2i = sin(t / base^(4i / M)),  S(t)_2i+1 = cos(t / base^(4i / M)); rows r in
    layout.position, columns c in layout.inner, which is 0 where the layout has none.
    Raises: ConfigError if the model's width is no multiple of 4.
    Source: Wang, Liu 2019, arXiv:1908.11415 (2-D positional encoding); He et al. 2021, arXiv:2111.06377, appendix A.1.
    Truth:  tests/truth/test_two_positions.py (the formula with math.sin; a shift in the plane is a rotation).
    """

    def __init__(self, dims: Dims, *, base: float = 10_000.0) -> None:
        super().__init__(dims)
        if dims.model % 4:
            raise ConfigError(f"sinusoidal2d needs a width that is a multiple of 4, found model = {dims.model}")
        self.waves = wavelengths(dims.model // 2, base)

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        first, second = layout.position, layout.inner
        second = torch.zeros_like(first) if second is None else second
        return x + torch.cat([waving(first, self.waves), waving(second, self.waves)], -1).to(x.dtype)
