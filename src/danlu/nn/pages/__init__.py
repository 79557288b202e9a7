"""Memory for blocks of keys and values of all layers: who owns which block is the caller's business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor

from ...core.registry import Registry
from ..dims import Dims

Table = tuple[int, ...]
"""The blocks of a text, in order."""


class Pages(ABC):
    """``blocks`` blocks of ``size`` tokens; the place of a token is its block · size + where it stands in it.

    ``whole`` is how many of the newest tokens of a text are kept as they came, for ways of keeping that round full
    blocks later; None where there is no later.
    """

    whole: int | None = None

    def __init__(
        self, dims: Dims, blocks: int, size: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.dims, self.blocks, self.size = dims, blocks, size
        self.dtype, self.device = dtype, torch.device(device)

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
    def bring(self, other: Any, pairs: Sequence[tuple[int, int]]) -> None:
        """Blocks of another of its kind, or its own: from → to, one after the other."""

    @abstractmethod
    def held(self) -> Mapping[str, Tensor]:
        """What blocks that are settled hold, all layers of them: the tensors themselves."""

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Every block holds what these say, which are as another's ``held``; raises ValueError if they do not fit."""
        for name, mine in self.held().items():
            if tensors[name].shape != mine.shape or tensors[name].dtype != mine.dtype:
                raise ValueError(f"{name}: {tensors[name].dtype} {tuple(tensors[name].shape)} does not fit")
            mine.copy_(tensors[name])

    @abstractmethod
    def twin(self, blocks: int, device: torch.device | str | None = None) -> Self:
        """An empty one of the same kind and settings."""

    @property
    def bytes_(self) -> int:
        """What it takes."""
        return sum(tensor.nbytes for tensor in self.held().values())

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Blocks from → to, one after the other."""
        self.bring(self, pairs)

    def expect(self, rows: int, tokens: int) -> None:  # noqa: B027
        """So many texts side by side will be written to, and so many of their tokens at once."""

    def settled(self, blocks: Sequence[int]) -> None:  # noqa: B027
        """These are full and older than ``whole`` tokens, or nobody uses them: they may be rounded now."""

    def dropped(self, blocks: Sequence[int]) -> None:  # noqa: B027
        """What these hold is of no use any more."""


def stretch(table: Table, size: int, start: int, stop: int) -> slice | list[int]:
    """Where the places start … stop of a text lie: one slice if its blocks follow each other."""
    first, last = start // size, -(-stop // size)
    blocks = table[first:last]
    if all(after == before + 1 for before, after in pairwise(blocks)):
        begin = blocks[0] * size + start - first * size if blocks else 0
        return slice(begin, begin + stop - start)
    return [table[place // size] * size + place % size for place in range(start, stop)]


PAGES: Registry[type[Pages]] = Registry("pages", Pages, __name__)
