"""Ways to stretch RoPE beyond the length it was trained at: each answers frequencies and a gain."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...core.registry import Registry


class Scaling(ABC):
    """What becomes of RoPE's frequencies."""

    @abstractmethod
    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        """(size / 2,) float32 radians a token on the host, and the factor on cos and sin."""


def plain(size: int, base: float) -> Tensor:
    """base^(-2i / size) for i < size / 2, always on the host: a model built without memory keeps its waves."""
    return 1.0 / base ** (torch.arange(0, size, 2, device="cpu", dtype=torch.float32) / size)


SCALINGS: Registry[type[Scaling]] = Registry("scaling", Scaling, __name__)
