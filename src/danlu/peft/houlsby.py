"""Bottlenecks after attention and after the feed-forward."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .bottleneck import After, check
from .branches import hang
from .targets import Pattern


@ADAPTERS.add("houlsby")
class Houlsby(Adapter):
    """Sends what attention and the feed-forward answer through a small network of its own, before it joins the stream.

    y ← y + W_up f(W_down y + b_down) + b_up,  W_down: (width, M), W_up: (M, width) = 0 at the start;  f is
    ``activation``: relu, gelu, gelu_tanh or silu. ``at`` names sublayers: attention, ffn, and the cross of a decoder.

    Trains 2 · width · M + width + M numbers a sublayer.
    Raises: ConfigError if no sublayer is named like ``at``, or the activation is unknown.
    Source: Houlsby et al. 2019, arXiv:1902.00751, §2.1 and fig. 2 (near-identity start: here exactly).
    Truth:  tests/truth/test_peft_bottleneck.py (the formula in float64; counts of parameters in closed form).
    """

    def __init__(self, *, width: int = 64, activation: str = "gelu", at: Pattern = "blocks.*.{attention,ffn}") -> None:
        check(width, activation, "adapter houlsby")
        self.width, self.activation, self.at = width, activation, at

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, lambda: After(model.dims.model, self.width, self.activation))
