"""A cache in one piece, made before the first token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...core.errors import ShapeError
from ..dims import Dims
from ..layout import Keys
from . import CACHES, KvCache


@CACHES.add("slab")
class Slab(KvCache):
    """Writes each token into its place in memory set aside at the start and answers views: nothing is allocated.

    k, v: (layers, B, K, capacity, D), so that each head reads one stretch of memory
    bytes = 2 · layers · B · capacity · K · D · bytes of the dtype
    Raises: ShapeError if more than ``capacity`` tokens are stored.
    Source: Pope et al. 2022, arXiv:2211.05102, §2 (the KV cache and its cost).
    Truth:  tests/truth/test_kv_caches.py (a list of rows in plain Python).
    """

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(dims, rows, capacity, dtype, device)
        shape = (dims.layers, rows, dims.kv_heads, capacity, dims.head)
        self.k, self.v = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
        self.position = torch.zeros(rows, capacity, dtype=torch.long, device=device)
        self.segment = torch.zeros(rows, capacity, dtype=torch.long, device=device)
        self.filled = [0] * dims.layers
        self._places = self.position, self.segment

    @property
    def length(self) -> int:
        return min(self.filled)

    def append(self, layer: int, new: Keys) -> Keys:
        start = self.filled[layer]
        stop = start + new.k.shape[1]
        if stop > self.capacity:
            raise ShapeError(f"a cache of {self.capacity} tokens a row cannot hold {stop}; make it larger")
        if start == max(self.filled):  # the first layer to come so far says for all where the tokens sit
            self._place(start, stop, new)
        self.filled[layer] = stop
        k, v = self.k[layer].transpose(1, 2), self.v[layer].transpose(1, 2)  # (B, capacity, K, D)
        k[:, start:stop], v[:, start:stop] = new.k, new.v
        return Keys(k[:, :stop], v[:, :stop], *self._places)

    def _place(self, start: int, stop: int, new: Keys) -> None:
        self.position[:, start:stop] = new.position
        self.segment[:, start:stop] = new.segment
        self._places = self.position[:, :stop], self.segment[:, :stop]

    def truncate(self, length: int) -> None:
        self.filled = [min(length, filled) for filled in self.filled]

    def select(self, rows: Sequence[int]) -> None:
        index = torch.tensor(list(rows), device=self.device)
        self.k, self.v = self.k.index_select(1, index), self.v.index_select(1, index)
        self.position, self.segment = self.position[index], self.segment[index]
        self.rows = len(rows)
