"""What ways of keeping share that treat each token by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..dims import Dims
from . import Pages, Table, stretch


class Flat(Pages, ABC):
    """Tensors of (layers, blocks · size, K, …), a token after the other; ``shapes`` says which."""

    def __init__(
        self, dims: Dims, blocks: int, size: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(dims, blocks, size, dtype, device)
        rows = (dims.layers, blocks * size, dims.kv_heads)
        self.tensors = {
            name: torch.empty(*rows, width, dtype=kind, device=device) for name, (width, kind) in self.shapes().items()
        }

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, torch.dtype]]:
        """Numbers a token and head of each tensor, and their kind."""

    def held(self) -> Mapping[str, Tensor]:
        return self.tensors

    def twin(self, blocks: int, device: torch.device | str | None = None) -> Self:
        return type(self)(self.dims, blocks, self.size, self.dtype, self.device if device is None else device)

    def find(self, table: Table, start: int, stop: int) -> slice | Tensor:
        places = stretch(table, self.size, start, stop)
        return places if isinstance(places, slice) else torch.tensor(places, device=self.device)

    def bring(self, other: Any, pairs: Sequence[tuple[int, int]]) -> None:
        size = self.size
        for name, target in self.tensors.items():
            source = other.tensors[name]
            for a, b in pairs:
                target[:, b * size : (b + 1) * size] = source[:, a * size : (a + 1) * size]
