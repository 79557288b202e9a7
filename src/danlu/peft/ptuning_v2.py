"""P-tuning v2: deep prompts."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .virtual_keys import hang


@ADAPTERS.add("ptuning_v2")
class PTuningV2(Adapter):
    """Learns the keys and values of virtual tokens of every layer themselves, as deep prompts.

    k ← [P_k; k], v ← [P_v; v],  P_k, P_v: (n, K, D) of each layer, seen by every document, not rotated, at positions
    0 … n - 1; tokens begin at position n, or with ``shift: false`` stay where they are. Whether a network makes them
    (``width``) helps or hurts by task; without one they are normal, std 0.02, at the start.

    Trains layers · 2 · n · K · D numbers.
    Raises: ConfigError for length or width below 1 or a model without attention; ShapeError for too small a context.
    Source: Liu et al. 2022, arXiv:2110.07602, §3.2 and §3.3.
    Truth:  tests/truth/test_peft_prefix.py (a softmax over concatenated keys in float64).
    """

    exact_start = False

    def __init__(self, *, length: int = 20, width: int | None = None, shift: bool = True) -> None:
        self.length, self.width, self.shift = length, width, shift

    def place(self, model: Model, name: str) -> None:
        hang(model, name, length=self.length, width=self.width, shift=self.shift, where="adapter ptuning_v2")
