"""The feed-forward of LLaMA."""

from __future__ import annotations

from ..activation import SILU
from . import FFNS, GatedFfn


@FFNS.add("swiglu")
class SwiGlu(GatedFfn):
    """One linear map gates another through x · sigmoid(x).

    y = W_down (silu(W_gate x) · W_up x)
    Source: Shazeer 2020, arXiv:2002.05202, eq. 6.
    Truth:  tests/truth/test_ffn_formulas.py (the formula in float64; gradient by finite differences).
    """

    activation = SILU
