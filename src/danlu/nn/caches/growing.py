"""The simplest cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..dims import Dims
from ..layout import Keys
from . import CACHES, KvCache


@CACHES.add("growing")
class Growing(KvCache):
    """Concatenates: needs no capacity, copies everything for each new token.

    keys_n = [keys_(n-1); new],  (B, S + T, K, D)
    Source: Shazeer 2019, arXiv:1911.02150, §2.4 (incremental inference).
    Truth:  tests/truth/test_kv_caches.py (a list of rows in plain Python).
    """

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(dims, rows, capacity, dtype, device)
        self.layers: dict[int, Keys] = {}

    @property
    def length(self) -> int:
        return min((layer.k.shape[1] for layer in self.layers.values()), default=0)

    def append(self, layer: int, new: Keys) -> Keys:
        old = self.layers.get(layer)
        self.layers[layer] = new if old is None else _joined(old, new)
        return self.layers[layer]

    def truncate(self, length: int) -> None:
        self._map(lambda tensor: tensor[:, :length])

    def select(self, rows: Sequence[int]) -> None:
        self._map(lambda tensor: tensor[list(rows)])
        self.rows = len(rows)

    def _map(self, change: Callable[[Tensor], Tensor]) -> None:
        self.layers = {
            i: Keys(change(x.k), change(x.v), change(x.position), change(x.segment)) for i, x in self.layers.items()
        }


def _joined(old: Keys, new: Keys) -> Keys:
    return Keys(
        torch.cat([old.k, new.k], 1),
        torch.cat([old.v, new.v], 1),
        torch.cat([old.position, new.position], 1),
        torch.cat([old.segment, new.segment], 1),
    )
