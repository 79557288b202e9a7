"""Heads: hidden states to a score a token of the vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ...core.registry import Registry
from ..linear import Linear


class Head(nn.Module, ABC):
    """(…, M) → (…, V)."""

    @property
    @abstractmethod
    def table(self) -> Linear:
        """The last product, whose weight may be that of the embedding."""

    @abstractmethod
    def forward(self, input: Tensor) -> Tensor: ...


HEADS: Registry[type[Head]] = Registry("head", Head, __name__)
