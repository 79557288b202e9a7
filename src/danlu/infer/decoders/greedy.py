"""Always the likeliest token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rows import Row
from . import DECODERS, Decoder


@DECODERS.add("greedy")
class Greedy(Decoder):
    """Takes the likeliest token that the filters leave, the first of those that tie.

    logits: (B, V) gives tokens (B,).
    Source: Sutskever, Vinyals, Le 2014, arXiv:1409.3215, §3.2 (a beam of one).
    Truth:  tests/truth/test_choosing.py (by hand); tests/parity/test_generate.py (transformers' greedy tokens).
    """

    def choose(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return self.filtered(logits, rows).argmax(-1)

    def law(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        chosen = self.choose(logits, rows)
        return torch.zeros_like(logits).scatter_(-1, chosen[:, None], 1.0)
