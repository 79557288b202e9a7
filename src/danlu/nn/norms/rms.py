"""Root-mean-square normalization, keeping one number a vector for backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import NORMS, Norm


@NORMS.add("rms")
class RmsNorm(Norm):
    """Brings each vector to unit root mean square, then scales it; computed in float32 at least.

    y = x / sqrt(mean(x²) + eps) · w,  over the last axis.
    Source: Zhang, Sennrich 2019, arXiv:1910.07467, eq. 4.
    Truth:  tests/truth/test_norm_formulas.py (the formula in float64; gradient by finite differences).
    """

    def __init__(self, size: int, *, eps: float = 1e-6) -> None:
        super().__init__(size)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _Rms.apply(x, self.weight, self.eps)
        return _scaled(x, self.weight, self.eps)[0]


def _scaled(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """y in the dtype of x, and 1 / rms (…, 1)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    rstd = torch.rsub(length.square_(), eps, alpha=-1 / x.shape[-1]).rsqrt_()  # eps + length² / size
    return (x * rstd).mul_(weight).to(x.dtype), rstd


class _Rms(Function):
    """Saves x (which the residual stream holds anyway) and one number a vector, not the normalized vectors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, rstd = _scaled(x, weight, eps)
        ctx.save_for_backward(x, weight, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # type: ignore[override]
        x, weight, rstd = ctx.saved_tensors
        unit = x * rstd  # float32
        scaled = grad * unit
        for_weight = scaled.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        mean = (scaled @ weight.to(scaled.dtype))[..., None].div_(x.shape[-1])
        dx = torch.mul(grad, weight).to(unit.dtype).sub_(unit.mul_(mean)).mul_(rstd)
        return dx.to(x.dtype), for_weight, None
