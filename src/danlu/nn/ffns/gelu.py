"""The feed-forward of GPT-2 and BERT."""

from __future__ import annotations

from torch import Tensor

from ..activation import GELU, GELU_TANH
from ..dims import Dims
from ..layout import Layout
from . import FFNS, Ffn, plain


@FFNS.add("gelu")
class Gelu(Ffn):
    """Two linear maps with a Gaussian error unit between, exact or by its tanh approximation.

    y = W_down (h Φ(h)),  h = W_up x;  with ``tanh``: Φ(h) ≈ (1 + tanh(√(2/π) (h + 0.044715 h³))) / 2
    Source: Hendrycks, Gimpel 2016, arXiv:1606.08415, §2.
    Truth:  tests/truth/test_ffn_formulas.py (math.erf and math.tanh; gradient by finite differences).
    """

    def __init__(self, dims: Dims, *, bias: bool = False, tanh: bool = False) -> None:
        super().__init__(dims, bias=bias)
        self.activation = GELU_TANH if tanh else GELU

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return plain(self.activation, self.up(x), self.down)
