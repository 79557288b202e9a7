"""UniPELT: several methods, each behind gates."""

from __future__ import annotations

from ..nn.model import Model
from . import ADAPTERS, Adapter
from .lora import Lora
from .pfeiffer import Pfeiffer
from .prefix import Prefix
from .sums import Sum, gate


@ADAPTERS.add("unipelt")
class UniPelt(Sum):
    """LoRA, virtual keys and a bottleneck at once; a gate of each layer opens what helps a token.

    g = σ(w x + b) for each token, x what the sublayer or map reads:  W x + g · α/r B A x;  y + g · (bottleneck(y) - y);
    scores of virtual keys + log g, so that g multiplies their weights before the softmax is normalized. Gates begin at
    1/2. The paper scales virtual keys and values by the mean of g over a text, which would show tokens what comes
    after them, and at 0 would not be the base.
    Unless others are given, ``lora`` is on q and v with rank 8, ``keys`` is prefix with length 10 and ``after`` is
    pfeiffer with width 48.

    Trains what its three parts train, and in + 1 numbers a gate.
    Raises: ConfigError if parts want the same place; what its parts raise.
    Source: Mao et al. 2022, arXiv:2110.07577, §3 and fig. 2.
    Truth:  tests/truth/test_peft_sums.py (gates shut: the base; one open: its part alone; the weights by hand).
    """

    exact_start = False

    def __init__(
        self, *, lora: Adapter | None = None, keys: Adapter | None = None, after: Adapter | None = None
    ) -> None:
        self.parts = (
            lora or Lora(at="blocks.*.{q,v}"),
            keys or Prefix(length=10, shift=False),
            after or Pfeiffer(width=48),
        )

    def place(self, model: Model, name: str) -> None:
        super().place(model, name)
        gate(model, name)
