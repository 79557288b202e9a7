"""Keys and values of earlier calls: the model cannot tell one store from another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from ...core.registry import Registry
from ..dims import Dims
from ..layout import Keys


class Kept(ABC):
    """What earlier calls left behind for rows that grow together."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Tokens stored a row."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens of every row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows in this order; a row may be named twice."""


class KvCache(Kept, ABC):
    """A store for ``rows`` sequences of at most ``capacity`` tokens, all of which grow together.

    Rows of different lengths are aligned at their ends: what stands before a shorter one has segment 0.
    """

    exact: ClassVar[bool] = True
    """Whether keys come back as they came."""

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.dims, self.rows, self.capacity = dims, rows, capacity
        self.dtype, self.device = dtype, torch.device(device)

    @abstractmethod
    def append(self, layer: int, new: Keys) -> Keys:
        """Stores this call's keys of one layer and answers all keys of that layer that are kept, oldest first."""


CACHES: Registry[type[KvCache]] = Registry("cache", KvCache, __name__)
