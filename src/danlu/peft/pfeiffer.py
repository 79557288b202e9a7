"""Bottlenecks after the feed-forward only."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .bottleneck import After, check
from .branches import hang
from .targets import Pattern


@ADAPTERS.add("pfeiffer")
class Pfeiffer(Adapter):
    """Sends what the feed-forward answers through a small network, once a block: half the numbers of Houlsby's.

    y ← y + W_up f(W_down y + b_down) + b_up,  W_down: (width, M), W_up: (M, width) = 0 at the start;  f is
    ``activation``: relu, gelu, gelu_tanh or silu.

    Trains 2 · width · M + width + M numbers a block.
    Raises: ConfigError if no sublayer is named like ``at``, or the activation is unknown.
    Source: Pfeiffer et al. 2020, arXiv:2005.00247, §3.1 and appendix A (the placement found best).
    Truth:  tests/truth/test_peft_bottleneck.py (the formula in float64; counts of parameters in closed form).
    """

    def __init__(self, *, width: int = 64, activation: str = "relu", at: Pattern = "blocks.*.ffn") -> None:
        check(width, activation, "adapter pfeiffer")
        self.width, self.activation, self.at = width, activation, at

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, lambda: After(model.dims.model, self.width, self.activation))
