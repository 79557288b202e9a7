"""Rotary position embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Layout
from ..scalings import Scaling
from ..scalings.none import Unscaled
from . import POSITIONS, Position


@POSITIONS.add("rope")
class Rope(Position):
    """Rotates each pair (x[i], x[i + D/2]) of queries and keys by an angle that grows with the position.

    (a, b) → (a cos tθ_i - b sin tθ_i, b cos tθ_i + a sin tθ_i),  θ_i = base^(-2i / D) after ``scaling``, whose gain
    multiplies both.  x: (B, T, H, D); positions in tokens, angles in radians, computed in float32.
    Raises: ConfigError if the head size is odd.
    Source: Su et al. 2021, arXiv:2104.09864, eq. 34 (pairs as in GPT-NeoX and LLaMA's Hugging Face weights).
    Truth:  tests/truth/test_position_encodings.py (complex multiplication; scores depend on distance only).
    """

    def __init__(self, dims: Dims, *, base: float = 10_000.0, scaling: Scaling | None = None) -> None:
        super().__init__(dims)
        if dims.head % 2:
            raise ConfigError(f"rope turns pairs of channels, so the head size must be even, found {dims.head}")
        self.waves, self.gain = (scaling or Unscaled()).frequencies(dims.head, base)

    def rotate(self, x: Tensor, layout: Layout) -> Tensor:
        cos, sin = layout.once(self, (layout.position,), lambda: self._turns(layout))
        return _Rotate.apply(x, cos, sin) if x.requires_grad else _rotated(x, cos, sin)

    def _turns(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """cos twice, -sin and sin: (B, T, 1, D), with B = 1 where all rows stand at the same positions."""
        position = layout.position[:1] if layout.plain else layout.position
        if self.waves.device != position.device:
            self.waves = self.waves.to(position.device)
        angle = position[..., None, None].float() * self.waves
        cos, sin = angle.cos().mul_(self.gain), angle.sin().mul_(self.gain)
        return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each half of a head times cos, plus the other half times sin, signed."""
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)


class _Rotate(Function):
    """A rotation is undone by the opposite one: only the angles, shared by all layers, are kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin), None, None
