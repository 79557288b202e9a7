"""Prefix tuning."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .virtual_keys import hang


@ADAPTERS.add("prefix")
class Prefix(Adapter):
    """Puts learned keys and values before those of every attention, made by a small network while they are trained.

    k ← [P_k; k], v ← [P_v; v],  (P_k, P_v) = W_up tanh(W_down P' + b) + b_up: (n, 2, K, D) of each layer;
    P': (n, K · D) and W_down: (width, K · D) are shared by all layers. At rest the network's answer is computed once
    and kept. Without ``width`` P_k and P_v are learned themselves. They are not rotated, stand at the positions
    0 … n - 1 and are seen by every document; tokens begin at position n, or with ``shift: false`` stay where they are.

    Trains n · K · D + (K · D + 1) · width + layers · 2 · K · D · (width + 1) numbers, or layers · 2 · n · K · D.
    Raises: ConfigError for length or width below 1 or a model without attention; ShapeError for too small a context.
    Source: Li and Liang 2021, arXiv:2101.00190, §4.2 and §4.3 (eq. 3, re-parametrization).
    Truth:  tests/truth/test_peft_prefix.py (a softmax over concatenated keys in float64; the network by hand).
    """

    exact_start = False

    def __init__(self, *, length: int = 20, width: int | None = 512, shift: bool = True) -> None:
        self.length, self.width, self.shift = length, width, shift

    def place(self, model: Model, name: str) -> None:
        hang(model, name, length=self.length, width=self.width, shift=self.shift, where="adapter prefix")
