"""Single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from . import PRECISIONS, Precision


@PRECISIONS.add("fp32")
class Fp32(Precision):
    """Computes everything in IEEE single precision: 8 bits of exponent, 23 of fraction.

    Source: IEEE 754-2019, binary32.
    Truth:  tests/truth/test_precisions.py (a product of matrices agrees with float64 to 2⁻²⁰).
    """

    def forward(self, device: str) -> AbstractContextManager[object]:
        return nullcontext()
