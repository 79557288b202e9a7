"""The pooler of BERT."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dims import Dims
from ..linear import Linear
from . import POOLERS, Pooler, leading


@POOLERS.add("first")
class First(Pooler):
    """A layer over the hidden state of the first token, which is there for nothing else.

    p = tanh(W h_0 + b),  h_0 of the first token that is not padding
    Source: Devlin et al. 2019, arXiv:1810.04805, §3.1 and appendix A.1.
    Truth:  tests/truth/test_heads.py (the formula in float64).
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.dense = Linear(dims.model, dims.model, axes=("model", "model"), bias=True)

    def forward(self, hidden: Tensor, segment: Tensor) -> Tensor:
        return torch.tanh(self.dense(leading(hidden, segment)))
