"""Poolers: the hidden states of a document to one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...core.registry import Registry
from ..dims import Dims


class Pooler(nn.Module, ABC):
    """One document's hidden states to a vector of the model's width."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, hidden: Tensor, segment: Tensor) -> Tensor:
        """hidden: (B, T, M), segment: (B, T), one document a row and 0 where padding → (B, M)."""


def leading(hidden: Tensor, segment: Tensor) -> Tensor:
    """The hidden state of each row's first token that is not padding.  (B, T, M), (B, T) → (B, M)."""
    first = (segment != 0).int().argmax(-1)  # of equal values the first
    return hidden[torch.arange(len(hidden), device=hidden.device), first]


POOLERS: Registry[type[Pooler]] = Registry("pooler", Pooler, __name__)
