"""The hidden state of the first token as it is."""

from __future__ import annotations

from torch import Tensor

from . import POOLERS, Pooler, leading


@POOLERS.add("cls")
class Cls(Pooler):
    """Takes the hidden state of the first token, which stands for the whole and for nothing else.

    p = h_0,  of the first token that is not padding
    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 4 (the class token's state is the image's).
    Truth:  tests/truth/test_heads.py (the first token's state, padding before it or not).
    """

    def forward(self, hidden: Tensor, segment: Tensor) -> Tensor:
        return leading(hidden, segment)
