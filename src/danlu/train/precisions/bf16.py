"""Half-width numbers with the range of fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from ...core.errors import ConfigError
from . import PRECISIONS, Precision

WIDTHS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@PRECISIONS.add("bf16")
class Bf16(Precision):
    """Computes matrix products in bfloat16 (8 bits of exponent, 7 of fraction); its range is fp32's: no loss scale.

    ``weights: fp32`` keeps weights and gradients in fp32. ``weights: bf16`` keeps both in bf16, and with them the
    residual stream; the optimizer then moves fp32 copies of weights that train (``master``), or, without copies, they
    are rounded to one of their two neighbors by chance: P(up) = (w - low) / (high - low), so that E[rounded] = w and
    steps smaller than the spacing are not lost. Gradients of several micro-batches are summed in fp32. Weights of an
    adapter stay fp32.

    Bytes a parameter for weight, master and gradient: 4 + 0 + 4;  bf16 with masters 2 + 4 + 2;  without 2 + 0 + 2.
    Source: Kalamkar et al. 2019, arXiv:1905.12322; masters: Micikevicius et al. 2018, arXiv:1710.03740, §3.1;
            rounding by chance: Gupta et al. 2015, arXiv:1502.02551, §3.
    Truth:  tests/truth/test_precisions.py (products carry bfloat16's rounding; gradients and weights are fp32),
            tests/truth/test_stochastic_rounding.py (the expectation; tiny steps survive in the mean).
    """

    def __init__(self, *, weights: Literal["fp32", "bf16"] = "fp32", master: bool = True) -> None:
        if weights not in WIDTHS:
            raise ConfigError(f"precision bf16: weights are kept in fp32 or bf16, found {weights!r}")
        if weights == "fp32" and not master:
            raise ConfigError(
                "precision bf16: weights in fp32 are their own masters; set weights: bf16, or strike master"
            )
        self.weights, self.masters = WIDTHS[weights], master

    def forward(self, device: str) -> AbstractContextManager[object]:
        return torch.autocast(device, torch.bfloat16)
