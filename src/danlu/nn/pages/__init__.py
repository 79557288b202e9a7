"""Memory for blocks of keys and values of all layers: who owns which block is the caller's business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.registry import Registry
from ..dims import Dims

Table = tuple[int, ...]
"""The blocks of a text, in order."""


class Pages(ABC):
    """``blocks`` blocks of ``size`` tokens; the place of a token is its block · size + where it stands in it.

    ``whole`` is how many of the newest tokens of a text are kept as they came, for ways of keeping that round.
    """

    whole: int = 0

    def __init__(self, dims: Dims, blocks: int, size: int, *, dtype: torch.dtype, device: torch.device | str) -> None:
        self.dims, self.blocks, self.size = dims, blocks, size
        self.dtype, self.device = dtype, torch.device(device)

    @classmethod
    @abstractmethod
    def bytes_a_token(cls, dims: Dims, dtype: torch.dtype) -> float:
        """What a token costs in all layers, constants included."""

    @abstractmethod
    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        """places: (N,); k, v: (N, K, D)."""

    @abstractmethod
    def find(self, table: Table, start: int, stop: int) -> Any:
        """Where the places start … stop of a text lie: what ``read`` is told, once for all layers."""

    @abstractmethod
    def read(self, layer: int, where: Any) -> tuple[Tensor, Tensor]:
        """Keys and values there, (S, K, D): views where they can be."""

    @abstractmethod
    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Blocks from → to, one after the other."""

    def settled(self, blocks: Sequence[int]) -> None:  # noqa: B027
        """These are full and older than ``whole`` tokens: they may be rounded now."""

    def dropped(self, blocks: Sequence[int]) -> None:  # noqa: B027
        """Nobody uses these any more, or they begin anew."""


PAGES: Registry[type[Pages]] = Registry("pages", Pages, __name__)
