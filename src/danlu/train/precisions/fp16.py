"""Half-width numbers with a narrow range, and the loss scale they need."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from . import PRECISIONS, Precision, Scale
from .scales.dynamic import Dynamic


@PRECISIONS.add("fp16")
class Fp16(Precision):
    """Computes matrix products in IEEE half precision (5 bits of exponent, 10 of fraction) under a loss scale.

    Weights are the fp32 master weights; products see fp16 copies. Gradients are unscaled before they are clipped, and
    a step whose gradients overflowed is skipped and counted. On CPUs it is for tests: products run about 40 × slower.
    Source: Micikevicius et al. 2018, arXiv:1710.03740.
    Truth:  tests/truth/test_precisions.py (a gradient of 2⁻²⁶ survives; weights and gradients are fp32).
    """

    def __init__(self, *, scaling: Scale | None = None) -> None:
        self.scale = scaling or Dynamic()

    def forward(self, device: str) -> AbstractContextManager[object]:
        return torch.autocast(device, torch.float16)
