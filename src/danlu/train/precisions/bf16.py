"""Half-width numbers with the range of fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from . import PRECISIONS, Precision


@PRECISIONS.add("bf16")
class Bf16(Precision):
    """Computes matrix products in bfloat16 (8 bits of exponent, 7 of fraction); weights and sums stay fp32.

    Its range is fp32's, so the loss needs no scale.
    Source: Kalamkar et al. 2019, arXiv:1905.12322.
    Truth:  tests/truth/test_precisions.py (products carry bfloat16's rounding; gradients and weights are fp32).
    """

    def forward(self, device: str) -> AbstractContextManager[object]:
        return torch.autocast(device, torch.bfloat16)
