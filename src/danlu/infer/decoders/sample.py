"""A token drawn from what the filters leave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rows import Row
from . import DECODERS, Decoder


@DECODERS.add("sample")
class Sample(Decoder):
    """Draws from softmax(filtered logits) by inversion: one uniform number a row and token, from the row's generator.

    token = min { i : Σ_{j ≤ i} p_j > u },  u uniform in [0, 1).  logits: (B, V) gives tokens (B,). One number a token
    whatever the vocabulary, so a row's output does not move when its neighbors come and go.
    Source: Devroye 1986, "Non-uniform random variate generation", §III.2 (inversion).
    Truth:  tests/truth/test_choosing.py (χ² against the law; the threshold by hand).
    """

    def choose(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return drawn(self.law(logits, rows), rows)

    def law(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return self.filtered(logits, rows).softmax(-1)


def drawn(law: Tensor, rows: Sequence[Row]) -> Tensor:
    """One token a row by inversion of a law (B, V) that need not sum to one, summed up in float64.  (B,)"""
    reached = law.cumsum(-1, dtype=torch.float64)  # (B, V)
    total = reached[:, -1:]
    draws = [torch.rand((), generator=row.random, dtype=torch.float64) for row in rows]
    thresholds = torch.stack(draws).to(law.device)[:, None] * total
    below = torch.nextafter(total, torch.zeros_like(total))  # u · total may round up to total, which no token exceeds
    return torch.searchsorted(reached, torch.minimum(thresholds, below), right=True)[:, 0]
