"""A token drawn from what the filters leave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import DECODERS, Choice, Decoder


@DECODERS.add("sample")
class Sample(Decoder):
    """Draws from softmax(filtered logits) by inversion: one uniform number a row and token, from the row's generator.

    token = min { i : Σ_{j ≤ i} p_j > u },  u uniform in [0, 1).  logits: (B, V) gives tokens (B,). One number a token
    whatever the vocabulary, so a row's output does not move when its neighbors come and go.
    Source: Devroye 1986, "Non-uniform random variate generation", §III.2 (inversion).
    Truth:  tests/truth/test_choosing.py (χ² against the law; the threshold by hand).
    """

    def choose(self, logits: Tensor, rows: Sequence[torch.Generator]) -> Choice:
        for change in self.filters:
            logits = change(logits)
        reached = logits.double().softmax(-1).cumsum(-1)  # (B, V)
        total = reached[:, -1:]
        draws = [torch.rand((), generator=row, dtype=torch.float64) for row in rows]
        thresholds = torch.stack(draws).to(logits.device)[:, None] * total
        below = torch.nextafter(
            total, torch.zeros_like(total)
        )  # u · total may round up to total, which no token exceeds
        return Choice(torch.searchsorted(reached, torch.minimum(thresholds, below), right=True)[:, 0])
