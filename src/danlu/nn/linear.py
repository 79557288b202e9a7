"""Linear maps and tables whose sides have names: all that parallelism, adapters and initialization need to know."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .native.matrix import Matrix, dense, readable


@dataclass(frozen=True)
class Birth:
    """How a newborn parameter is drawn: normal with ``std``, residual projections smaller by sqrt(2 · layers)."""

    std: float
    layers: int
    generator: torch.Generator


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which linear maps will multiply x: that of autocast, or its own.

    What several maps read is rounded once and kept once if it is rounded before they read it.
    """
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # the meta device has none
    return torch.get_autocast_dtype(kind) if casts else x.dtype


class Map(nn.Module, ABC):
    """A linear map with named sides, however its weight is kept: y = x Wᵀ + b.  input: (…, in) → (…, out)."""

    axes: tuple[str, str]
    """(name of the output, name of the input)"""
    in_features: int
    out_features: int
    bias: Any

    @abstractmethod
    def forward(self, input: Tensor) -> Tensor: ...

    @abstractmethod
    def dense(self) -> Tensor:
        """The weight as floating-point numbers.  (out, in)"""

    @abstractmethod
    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        """Takes these numbers from now on; raises ConfigError where they would be rounded by how it is kept."""

    @property
    def matrix(self) -> Matrix | None:
        """The weight as native kernels read it; None where they cannot."""
        return None


class Linear(nn.Linear, Map):
    """y = x Wᵀ + b with axes = (name of the output, name of the input), e.g. ("heads", "model").  weight: (out, in)."""

    def __init__(self, out: int, inp: int, *, axes: tuple[str, str], bias: bool = False) -> None:
        super().__init__(inp, out, bias=bias)
        self.axes = axes

    def reset_parameters(self) -> None:
        """Weights are drawn by ``born`` or read from a file; until then they are zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def dense(self) -> Tensor:
        return self.weight

    @torch.no_grad()
    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight.copy_(weight)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    @property
    def matrix(self) -> Matrix | None:
        return dense(self.weight.detach()) if readable(self.weight) else None

    def born(self, birth: Birth) -> None:
        """A projection into the residual stream is drawn smaller, so that depth does not let the stream grow."""
        std = birth.std / math.sqrt(2 * birth.layers) if self.axes[0] == "model" else birth.std
        nn.init.normal_(self.weight, std=std, generator=birth.generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Embedding(nn.Embedding):
    """A table of vectors with axes = (name of the rows, name of the columns).  weight: (rows, columns)."""

    def __init__(self, rows: int, columns: int, *, axes: tuple[str, str]) -> None:
        super().__init__(rows, columns)
        self.axes = axes

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def born(self, birth: Birth) -> None:
        nn.init.normal_(self.weight, std=birth.std, generator=birth.generator)
