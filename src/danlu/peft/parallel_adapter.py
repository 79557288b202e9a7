"""Bottlenecks beside sublayers, reading what they read."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .bottleneck import Beside, check
from .branches import hang
from .targets import Pattern


@ADAPTERS.add("parallel_adapter")
class ParallelAdapter(Adapter):
    """A small network beside each feed-forward reads what it reads, and adds to what it answers.

    y ← y + s · (W_up f(W_down x + b_down) + b_up),  W_down: (width, M), W_up: (M, width) = 0 at the start;  x is what
    the sublayer reads (normed where it is), s ``scale``, f ``activation``: relu, gelu, gelu_tanh or silu.

    Trains 2 · width · M + width + M numbers a sublayer.
    Raises: ConfigError if no sublayer is named like ``at``, or the activation is unknown.
    Source: He et al. 2021, arXiv:2110.04366, table 1 (scaled parallel adapter) and §4.5 (s = 4).
    Truth:  tests/truth/test_peft_bottleneck.py (the formula in float64; counts of parameters in closed form).
    """

    def __init__(
        self, *, width: int = 64, scale: float = 4.0, activation: str = "relu", at: Pattern = "blocks.*.ffn"
    ) -> None:
        check(width, activation, "adapter parallel_adapter")
        self.width, self.scale, self.activation, self.at = width, float(scale), activation, at

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, lambda: Beside(model.dims.model, self.width, self.activation, self.scale))
