"""Two thin maps with a bend between, beside a sublayer or after it."""

from __future__ import annotations

import math
from abc import ABC

from torch import Tensor, nn

from ..core.errors import ConfigError, unknown
from ..nn.activation import GELU, GELU_TANH, RELU, SILU, Activation
from ..nn.ffns import plain
from ..nn.linear import Linear
from ..nn.sites import Branch

ACTIVATIONS: dict[str, Activation] = {"relu": RELU, "gelu": GELU, "gelu_tanh": GELU_TANH, "silu": SILU}


class Bottleneck(Branch, ABC):
    """net(h) = W_up f(W_down h + b_down) + b_up,  W_down: (width, M) drawn as torch draws, W_up: (M, width) = 0.

    Nothing is added at the start. Backward makes f again instead of keeping it.
    """

    def __init__(self, model: int, width: int, activation: str) -> None:
        super().__init__()
        self.down = Linear(width, model, axes=("bottleneck", "model"), bias=True)
        self.up = Linear(model, width, axes=("model", "bottleneck"), bias=True)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        self.activation = ACTIVATIONS[activation]

    def net(self, h: Tensor) -> Tensor:
        """(B, T, M) → (B, T, M)."""
        return plain(self.activation, self.down(h), self.up)


class After(Bottleneck):
    """y + net(y): after the sublayer."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.net(y)


class Beside(Bottleneck):
    """y + scale · net(x): beside the sublayer."""

    def __init__(self, model: int, width: int, activation: str, scale: float) -> None:
        super().__init__(model, width, activation)
        self.scale = scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.scale * self.net(x)


def check(width: int, activation: str, where: str) -> None:
    """Raises ConfigError for a bottleneck that is none, or an unknown activation."""
    if width < 1:
        raise ConfigError(f"{where}: width is how many numbers pass the bottleneck, at least 1, found {width}")
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, list(ACTIVATIONS), where=where)
