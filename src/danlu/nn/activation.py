"""Activations with their derivatives, and the product of a gated feed-forward that backward makes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, ops
from torch.autograd import Function
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Activation:
    """``of(x)`` and ``back(grad, x)``, the gradient of what ``of`` answered."""

    of: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]


SILU = Activation(F.silu, ops.aten.silu_backward)
GELU = Activation(F.gelu, ops.aten.gelu_backward)
GELU_TANH = Activation(
    lambda x: F.gelu(x, approximate="tanh"), lambda grad, x: ops.aten.gelu_backward(grad, x, approximate="tanh")
)


class Gated(Function):
    """activation(gate) · up, saving the two factors and nothing between."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return activation.of(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        return ctx.activation.back(grad * up, gate), ctx.activation.of(gate).mul_(grad), None
