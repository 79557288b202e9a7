"""Normalizations of one vector of channels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...core.registry import Registry
from ..linear import Birth


class Norm(nn.Module, ABC):
    """Normalizes the last axis of x (…, size)."""

    weight: nn.Parameter

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    def born(self, birth: Birth) -> None:
        """A newborn norm neither scales nor shifts."""
        nn.init.ones_(self.weight)


NORMS: Registry[type[Norm]] = Registry("norm", Norm, __name__)
