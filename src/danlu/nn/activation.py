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
    """``of(x)``, and ``back_(grad, x)``, which turns the gradient of what ``of`` answered into that of x, in place."""

    of: Callable[[Tensor], Tensor]
    back_: Callable[[Tensor, Tensor], Tensor]


def _silu_back(grad: Tensor, x: Tensor) -> Tensor:
    return ops.aten.silu_backward.grad_input(grad, x, grad_input=grad)


def _gelu_back(grad: Tensor, x: Tensor) -> Tensor:
    return ops.aten.gelu_backward.grad_input(grad, x, grad_input=grad)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_tanh_back(grad: Tensor, x: Tensor) -> Tensor:
    return ops.aten.gelu_backward.grad_input(grad, x, approximate="tanh", grad_input=grad)


def _relu_back(grad: Tensor, x: Tensor) -> Tensor:
    return ops.aten.threshold_backward.grad_input(grad, x, 0, grad_input=grad)


SILU = Activation(F.silu, _silu_back)
GELU = Activation(F.gelu, _gelu_back)
GELU_TANH = Activation(_gelu_tanh, _gelu_tanh_back)
RELU = Activation(F.relu, _relu_back)


class Product:
    """activation(gate) · up, and its making again in backward, whose activation serves the gradient too."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.active: Tensor | None = None

    def make(self, gate: Tensor, up: Tensor) -> Tensor:
        self.active = self.activation.of(gate)
        return self.active * up

    def take(self, gate: Tensor) -> Tensor:
        """The activation of the gate, made a moment ago or now; the caller may change it."""
        active, self.active = self.active, None
        return self.activation.of(gate) if active is None else active


class Gated(Function):
    """activation(gate) · up, saving the two factors and nothing between."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, product: Product) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.product = product
        return product.activation.of(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        for_up = ctx.product.take(gate).mul_(grad)
        return ctx.product.activation.back_(grad * up, gate), for_up, None
