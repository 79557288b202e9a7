"""The feed-forward of T5 1.1 and Gemma."""

from __future__ import annotations

from ..activation import GELU, GELU_TANH
from ..dims import Dims
from . import FFNS, GatedFfn


@FFNS.add("geglu")
class GeGlu(GatedFfn):
    """One linear map gates another through a Gaussian error unit, exact or by its tanh approximation.

    y = W_down (gelu(W_gate x) · W_up x)
    Source: Shazeer 2020, arXiv:2002.05202, eq. 6.
    Truth:  tests/truth/test_ffn_formulas.py (math.erf and math.tanh; gradient by finite differences).
    """

    def __init__(self, dims: Dims, *, bias: bool = False, tanh: bool = False) -> None:
        super().__init__(dims, bias=bias)
        self.activation = GELU_TANH if tanh else GELU
