"""A learned function of the distance, measured against how far the query has come."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ...core.errors import ConfigError
from ..dims import Dims
from ..linear import Birth, Linear
from . import POSITIONS, Position


@POSITIONS.add("fire")
class Fire(Position):
    """Adds to each score what a small network makes of the distance relative to the query's position.

    score + f(ψ(|i - j|) / ψ(max(L, i)))_h,  ψ(x) = ln(c x + 1);  f: 1 → ``width`` → H with ReLU.
    c > 0 and L are learned: c begins at 0.1, L at ``threshold`` tokens and as a share of it. Computed in float32;
    the hidden layer has B · T · S · width numbers, so long rows want a kernel that asks tile by tile.
    Raises: ConfigError if width or threshold is below 1.
    Source: Li et al. 2023, arXiv:2310.04418 (the definition of FIRE, and its appendix for the constants).
    Truth:  tests/truth/test_relative_biases.py (loops over Python floats; gradients by finite differences).
    """

    def __init__(self, dims: Dims, *, width: int = 32, threshold: float = 512.0) -> None:
        super().__init__(dims)
        if width < 1 or threshold < 1:
            raise ConfigError(f"fire's width and threshold are at least 1, found {width} and {threshold}")
        self.threshold = threshold
        self.share = nn.Parameter(torch.zeros(1))  # L / threshold
        self.slope = nn.Parameter(torch.zeros(1))  # c
        self.wide = Linear(width, 1, axes=("ffn", "distance"), bias=True)
        self.narrow = Linear(dims.heads, width, axes=("heads", "ffn"), bias=True)

    def born(self, birth: Birth) -> None:
        """The constants that the paper begins with; both maps are drawn like any other."""
        nn.init.constant_(self.slope, 0.1)
        nn.init.ones_(self.share)

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        with _uncast(q_at.device.type):
            apart = (q_at[:, :, None] - k_at[:, None]).abs_().to(self._kind)
            reach = torch.maximum(q_at[:, :, None].to(self._kind), (self.share * self.threshold).abs().to(self._kind))
            return self._scored(self._logarithm(apart) / (self._logarithm(reach) + 1e-6))

    @property
    def _kind(self) -> torch.dtype:
        """At least float32: positions have more digits than half precision holds."""
        return torch.promote_types(self.slope.dtype, torch.float32)

    def _logarithm(self, tokens: Tensor) -> Tensor:
        return torch.log1p(self.slope.abs().to(self._kind) * tokens)

    def _scored(self, relative: Tensor) -> Tensor:
        """(B, T, S) → (B, H, T, S), head by head in memory."""
        weights = (self.wide.weight, self.wide.bias, self.narrow.weight, self.narrow.bias)
        w, b, u, c = (weight.to(self._kind) for weight in weights)
        hidden = torch.addmm(b[:, None], w, relative.reshape(1, -1)).relu_()
        return torch.addmm(c[:, None], u, hidden).view(-1, *relative.shape).transpose(0, 1)


def _uncast(kind: str) -> AbstractContextManager[object]:
    """Products in the dtype of what is multiplied, on any device; the meta device never casts."""
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
