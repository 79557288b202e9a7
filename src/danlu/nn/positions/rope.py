"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    """Rotates each pair (x[i], x[i + N/2]) of queries and keys by an angle that grows with the position.

    (a, b) → (a cos tθ_i - b sin tθ_i, b cos tθ_i + a sin tθ_i),  θ_i = base^(-2i / N) after ``scaling``, whose gain
    multiplies both;  N = ``part`` · D: the first channels of each head turn, the others stay. ``interleaved`` pairs
    neighbors instead, (x[2i], x[2i + 1]).  x: (B, T, H, D); positions in tokens, angles in radians, in float32.
    Raises: ConfigError if the channels that turn are odd in number, or none, or more than the head has.
    Source: Su et al. 2021, arXiv:2104.09864, eq. 34; Black et al. 2022, arXiv:2204.06745, §2.1.1 (a part, halves).
    Truth:  tests/truth/test_position_encodings.py (complex multiplication; scores depend on distance only).
    """

    def __init__(
        self,
        dims: Dims,
        *,
        base: float = 10_000.0,
        scaling: Scaling | None = None,
        part: float = 1.0,
        interleaved: bool = False,
    ) -> None:
        super().__init__(dims)
        size = int(dims.head * part)
        if size % 2 or not 0 < size <= dims.head:
            raise ConfigError(
                f"rope turns pairs of channels, so their number must be even, found {size} of a head of {dims.head}"
            )
        self.pairs = NEIGHBORS if interleaved else HALVES
        self.scaling = scaling or Unscaled()
        self.waves, self.gain = self.scaling.frequencies(size, base)

    def rotate(self, x: Tensor, layout: Layout) -> Tensor:
        cos, sin = layout.once(self, (layout.position,), lambda: self._turns(layout))
        return _Rotate.apply(x, cos, sin, self.pairs) if x.requires_grad else _rotated(x, cos, sin, self.pairs)

    def _turns(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """cos twice, -sin and sin, as the pairs lie: (B, T, 1, N), with B = 1 where all rows stand alike."""
        position = layout.position[:1] if layout.plain else layout.position
        if self.waves.device != position.device:
            self.waves = self.waves.to(position.device)
        angle = position[..., None, None].float() * self.scaling.reached(self.waves, layout)
        cos, sin = angle.cos().mul_(self.gain), angle.sin().mul_(self.gain)
        return self.pairs.joined(cos, cos), self.pairs.joined(-sin, sin)


@dataclass(frozen=True)
class Pairs:
    """Which channels turn together: how two halves lie in a head, and each channel's other one in its place."""

    joined: Callable[[Tensor, Tensor], Tensor]
    swapped: Callable[[Tensor], Tensor]


def _side_by_side(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b], -1)


def _in_turn(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a, b], -1).flatten(-2)


def _other_half(x: Tensor) -> Tensor:
    return x.roll(x.shape[-1] // 2, -1)


def _neighbor(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)


HALVES = Pairs(joined=_side_by_side, swapped=_other_half)
NEIGHBORS = Pairs(joined=_in_turn, swapped=_neighbor)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, pairs: Pairs) -> Tensor:
    """Each channel times cos, plus the other one of its pair times sin, signed; channels beyond stay."""
    size = cos.shape[-1]
    if size < x.shape[-1]:
        return torch.cat([_rotated(x[..., :size], cos, sin, pairs), x[..., size:]], -1)
    return (x * cos).addcmul_(pairs.swapped(x), sin).to(x.dtype)


class _Rotate(Function):
    """A rotation is undone by the opposite one: only the angles, shared by all layers, are kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.pairs = pairs
        return _rotated(x, cos, sin, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin, ctx.pairs), None, None, None
