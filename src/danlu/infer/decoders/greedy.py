"""Always the likeliest token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import DECODERS, Choice, Decoder


@DECODERS.add("greedy")
class Greedy(Decoder):
    """Takes the likeliest token, the first of those that tie; filters cannot change it and are not run.

    logits: (B, V) gives tokens (B,).
    Source: Sutskever, Vinyals, Le 2014, arXiv:1409.3215, §3.2 (a beam of one).
    Truth:  tests/truth/test_choosing.py (by hand); tests/parity/test_generate.py (transformers' greedy tokens).
    """

    def choose(self, logits: Tensor, rows: Sequence[torch.Generator]) -> Choice:
        return Choice(logits.argmax(-1))
