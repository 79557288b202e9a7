"""Feed-forward sublayers: what happens to each token alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...core.registry import Registry
from ..activation import Activation, Gated, Product
from ..dims import Dims
from ..layout import Layout
from ..linear import Linear
from ..remade import remade


class FeedForward(nn.Module, ABC):
    """M → M, each token alone.  x: (B, T, M)."""

    @abstractmethod
    def forward(self, x: Tensor, layout: Layout) -> Tensor: ...


class Ffn(FeedForward, ABC):
    """M → ffn → M by two linear maps, or three."""

    def __init__(self, dims: Dims, *, bias: bool = False) -> None:
        super().__init__()
        self.up = Linear(dims.ffn, dims.model, axes=("ffn", "model"), bias=bias)
        self.down = Linear(dims.model, dims.ffn, axes=("model", "ffn"), bias=bias)


class GatedFfn(Ffn, ABC):
    """down(activation(gate(x)) · up(x)); backward makes the product again instead of keeping it."""

    activation: Activation

    def __init__(self, dims: Dims, *, bias: bool = False) -> None:
        super().__init__(dims, bias=bias)
        self.gate = Linear(dims.ffn, dims.model, axes=("ffn", "model"), bias=bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return gated(self.activation, self.gate(x), self.up(x), self.down)


def gated(activation: Activation, gate: Tensor, up: Tensor, down: Callable[[Tensor], Tensor]) -> Tensor:
    """down(activation(gate) · up), whose product backward makes again."""
    if not torch.is_grad_enabled():
        return down(activation.of(gate).mul_(up))
    product = Product(activation)
    inner = Gated.apply(gate, up, product)
    with remade(inner, product.make, gate, up):
        return down(inner)


def plain(activation: Activation, up: Tensor, down: Callable[[Tensor], Tensor]) -> Tensor:
    """down(activation(up)), whose activation backward makes again."""
    inner = activation.of(up)
    with remade(inner, activation.of, up):
        return down(inner)


FFNS: Registry[type[FeedForward]] = Registry("ffn", FeedForward, __name__)
