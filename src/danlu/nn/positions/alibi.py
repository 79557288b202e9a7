"""Scores that fall with the distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..dims import Dims
from . import POSITIONS, Position


@POSITIONS.add("alibi")
class Alibi(Position):
    """Takes from each score the distance of query and key times a fixed slope of the head.

    score - m_h |q - k|,  m_h = 2^(-8 h / H) for h = 1 … H if H is a power of two, else those of the next lower power n
    followed by every other slope of 2 n.  Nothing is learned; what a softmax adds evenly to a query's scores is lost,
    so that this equals BLOOM's m_h · k under a causal mask.
    Source: Press et al. 2021, arXiv:2108.12409, §3; the released code for other numbers of heads.
    Truth:  tests/truth/test_relative_biases.py (shared fixture; BLOOM's bias in transformers; by hand).
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.slopes = torch.tensor(slopes(dims.heads), device="cpu")

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        if self.slopes.device != q_at.device:
            self.slopes = self.slopes.to(q_at.device)
        apart = (q_at[:, :, None] - k_at[:, None]).abs_().to(self.slopes.dtype)  # (B, T, S)
        return apart[:, None] * -self.slopes[:, None, None]


def slopes(heads: int) -> list[float]:
    """One a head: a geometric series, filled up from the series with twice as many heads."""
    even = 1 << (heads.bit_length() - 1)
    series = [math.pow(2, -8 * (i + 1) / even) for i in range(even)]
    return series + [math.pow(2, -4 * (2 * i + 1) / even) for i in range(heads - even)]
