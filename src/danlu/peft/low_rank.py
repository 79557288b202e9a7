"""A product of two thin matrices, added to what a linear map answers, without a second tensor as large as that."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..core.errors import ConfigError
from ..nn.linear import Linear, Map


def thin(base: Map, rank: int) -> tuple[Linear, Linear]:
    """A: (r, in), drawn as torch draws linear maps, and B: (out, r), zero."""
    out, inp = base.axes
    down, up = Linear(rank, base.in_features, axes=("rank", inp)), Linear(base.out_features, rank, axes=(out, "rank"))
    draw(down, up)
    return down, up


def draw(down: Linear, up: Linear) -> None:
    """Begins anew."""
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    nn.init.zeros_(up.weight)


def expect_rank(rank: int, base: Map, place: str, method: str) -> None:
    """Raises ConfigError for a rank that is no saving: larger than a side of the map."""
    if rank > min(base.in_features, base.out_features):
        raise ConfigError(
            f"adapter {method}: rank {rank} is larger than {place}, which maps {base.in_features} to "
            f"{base.out_features}; lower rank, or leave the map out with at"
        )


def add(y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float, dropout: float = 0.0) -> Tensor:
    """y + scale · B A dropout(x), written into y, which nobody else may hold.

    x: (…, in), y: (…, out), down = A: (r, in), up = B: (out, r).  It is computed in the dtype of y.
    """
    kept = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - dropout) if dropout else None
    return _Added.apply(y, x.to(y.dtype), down, up, scale / (1 - dropout), kept)


class _Added(Function):
    """Saves x, which the model keeps anyway or makes again, the inner (N, r), and a byte a number where dropped.

    Products over tokens read the thin operand row by row, all others column by column: elsewise libraries of linear
    algebra are up to ten times slower.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float, kept: Tensor | None
    ) -> Tensor:  # fmt: skip
        out, rows = y.detach(), _rows(x, kept)
        inner = down.to(y.dtype) @ rows.t()  # (r, N)
        out.view(-1, out.shape[-1]).addmm_(inner.t(), up.to(y.dtype).t(), alpha=scale)
        ctx.save_for_backward(x, down, up, inner.t().contiguous() if up.requires_grad else None, kept)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, down, up, inner, kept = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])  # (N, out)
        for_inner = (ctx.scale * up.t()).to(grad.dtype) @ rows.t()  # (r, N)
        for_x = for_down = for_up = None
        if ctx.needs_input_grad[1]:
            for_x = (for_inner.t() @ down.to(grad.dtype)).view(x.shape)
            for_x = for_x if kept is None else for_x.mul_(kept)
        if ctx.needs_input_grad[2]:
            for_down = (for_inner.t().contiguous().t() @ _rows(x, kept)).to(down.dtype)
        if ctx.needs_input_grad[3]:
            for_up = (inner.t() @ rows).t().to(up.dtype).mul_(ctx.scale)
        return grad, for_x, for_down, for_up, None, None


def _rows(x: Tensor, kept: Tensor | None) -> Tensor:
    """What of x was kept.  (…, in) → (N, in)"""
    return (x if kept is None else x * kept).reshape(-1, x.shape[-1])
