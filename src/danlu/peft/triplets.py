"""Singular values with their two vectors, added to a linear map, and what is known of their importance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..nn.layout import Layout
from ..nn.linear import Map
from ..nn.sites import Delta, Entrance
from .low_rank import add

STD = 0.02


class SvdDelta(Delta):
    """y + scale · P Λ Q x,  P: (out, r), Λ: (r,) zero: the start is the base, Q: (r, in).

    Beside each of the three lie the running means of its importance and of how uncertain that is.
    """

    def __init__(self, base: Map, *, rank: int, scale: float) -> None:
        super().__init__(base)
        self.left = nn.Parameter(torch.randn(base.out_features, rank) * STD)
        self.values = nn.Parameter(torch.zeros(rank))
        self.right = nn.Parameter(torch.randn(rank, base.in_features) * STD)
        self.scale = scale
        for name, parameter in list(self.named_parameters()):
            self.register_buffer(f"{name}_importance", torch.zeros_like(parameter))
            self.register_buffer(f"{name}_uncertainty", torch.zeros_like(parameter))
        self.register_buffer("kept", torch.ones(rank, dtype=torch.bool))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return add(y, x, self.values[:, None] * self.right, self.left, self.scale)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        update = self.scale * (self.left @ (self.values[:, None] * self.right))
        return (weight + update).to(weight.dtype), bias

    def strayed(self) -> Tensor:
        """‖Pᵀ P - I‖² + ‖Q Qᵀ - I‖², by Frobenius: how far the vectors are from being orthonormal."""
        unit = torch.eye(len(self.values), device=self.values.device)
        squares = self.left.t() @ self.left, self.right @ self.right.t()
        return torch.stack([(square - unit).square().sum() for square in squares]).sum()

    @torch.no_grad()
    def weigh(self, betas: Sequence[float]) -> None:
        """Takes what a step's gradients say about importance into the running means."""
        for name, parameter in self.named_parameters():
            if parameter.grad is None:
                continue
            now = (parameter * parameter.grad).abs()
            importance = self.get_buffer(f"{name}_importance").lerp_(now, 1 - betas[0])
            self.get_buffer(f"{name}_uncertainty").lerp_((now - importance).abs(), 1 - betas[1])

    def scores(self) -> Tensor:
        """S_i = s(λ_i) + mean_j s(P_ji) + mean_j s(Q_ij),  s = importance · uncertainty.  (r,)"""
        left, values, right = (
            self.get_buffer(f"{name}_importance") * self.get_buffer(f"{name}_uncertainty")
            for name in ("left", "values", "right")
        )
        return values + left.mean(0) + right.mean(1)


class Orthogonal(Entrance):
    """Lays aside how far the vectors of all maps are from being orthonormal, in the mean."""

    def __init__(self, deltas: Sequence[SvdDelta], weight: float) -> None:
        super().__init__()
        self.deltas, self.weight = list(deltas), weight

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        if self.training:
            strayed = torch.stack([delta.strayed() for delta in self.deltas])
            layout.aside.setdefault("orthogonality", []).append(self.weight * strayed.mean())
        return x, layout
