"""Feed-forward sublayers: what happens to each token alone."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...core.registry import Registry
from ..activation import Activation, Gated, Product
from ..dims import Dims
from ..layout import Layout
from ..linear import Linear
from ..remade import remade


class Ffn(nn.Module, ABC):
    """M → ffn → M.  x: (B, T, M)."""

    def __init__(self, dims: Dims, *, bias: bool = False) -> None:
        super().__init__()
        self.up = Linear(dims.ffn, dims.model, axes=("ffn", "model"), bias=bias)
        self.down = Linear(dims.model, dims.ffn, axes=("model", "ffn"), bias=bias)

    @abstractmethod
    def forward(self, x: Tensor, layout: Layout) -> Tensor: ...


class GatedFfn(Ffn, ABC):
    """down(activation(gate(x)) · up(x)); backward makes the product again instead of keeping it."""

    activation: Activation

    def __init__(self, dims: Dims, *, bias: bool = False) -> None:
        super().__init__(dims, bias=bias)
        self.gate = Linear(dims.ffn, dims.model, axes=("ffn", "model"), bias=bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        gate, up = self.gate(x), self.up(x)
        if not torch.is_grad_enabled():
            return self.down(self.activation.of(gate).mul_(up))
        product = Product(self.activation)
        gated = Gated.apply(gate, up, product)
        with remade(gated, product.make, gate, up):
            return self.down(gated)


FFNS: Registry[type[Ffn]] = Registry("ffn", Ffn, __name__)
