"""Ways to stretch RoPE beyond the length it was trained at: each answers frequencies and a gain."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ...core.registry import Registry
from ..layout import Layout


class Scaling(ABC):
    """What becomes of RoPE's frequencies."""

    @abstractmethod
    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        """(size / 2,) float32 radians a token on the host, and the factor on cos and sin; at the trained length."""

    def reached(self, waves: Tensor, layout: Layout) -> Tensor:
        """The waves of one call, if they depend on how far it reaches: what broadcasts to (B, T, 1, size / 2)."""
        return waves


def above_zero(**settings: float) -> None:
    """Raises ConfigError naming the first setting that is not."""
    for name, value in settings.items():
        if not value > 0:
            raise ConfigError(f"a scaling's {name} must be above 0, found {value}")


def plain(size: int, base: float) -> Tensor:
    """base^(-2i / size) for i < size / 2, always on the host: a model built without memory keeps its waves."""
    return 1.0 / base ** (torch.arange(0, size, 2, device="cpu", dtype=torch.float32) / size)


def rising(slow: float, fast: float) -> None:
    """Raises ConfigError unless waves that are kept turn more often than those that are stretched."""
    if fast <= slow:
        raise ConfigError(
            f"waves that are kept must turn more often than those that are stretched, found {fast} and {slow} turns "
            "within the original length"
        )


SCALINGS: Registry[type[Scaling]] = Registry("scaling", Scaling, __name__)
