"""Keys and values as the model makes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..dims import Dims
from . import PAGES, Pages, Table


@PAGES.add("plain")
class Plain(Pages):
    """One stretch of memory a layer, a token after the other.

    k, v: (layers, blocks · size, K, D);  bytes = 2 · layers · K · D · bytes of the dtype, a token
    Source: Kwon et al. 2023, arXiv:2309.06180, §4.1.
    Truth:  tests/truth/test_pages.py (a list of tokens in plain Python, blocks in any order).
    """

    def __init__(self, dims: Dims, blocks: int, size: int, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__(dims, blocks, size, dtype=dtype, device=device)
        shape = (dims.layers, blocks * size, dims.kv_heads, dims.head)
        self.k, self.v = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))

    @classmethod
    def bytes_a_token(cls, dims: Dims, dtype: torch.dtype) -> float:
        return 2 * dims.layers * dims.kv_heads * dims.head * dtype.itemsize

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        self.k[layer].index_copy_(0, places, k.to(self.dtype))
        self.v[layer].index_copy_(0, places, v.to(self.dtype))

    def find(self, table: Table, start: int, stop: int) -> slice | Tensor:
        places = stretch(table, self.size, start, stop)
        return places if isinstance(places, slice) else torch.tensor(places, device=self.device)

    def read(self, layer: int, where: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.k[layer][where], self.v[layer][where]

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        for source, target in pairs:
            for tensor in (self.k, self.v):
                blocks = tensor.unflatten(1, (self.blocks, self.size))
                blocks[:, target] = blocks[:, source]


def stretch(table: Table, size: int, start: int, stop: int) -> slice | list[int]:
    """Where the places start … stop of a text lie: one slice if its blocks follow each other."""
    first, last = start // size, -(-stop // size)
    blocks = table[first:last]
    if all(after == before + 1 for before, after in pairwise(blocks)):
        begin = blocks[0] * size + start - first * size
        return slice(begin, begin + stop - start)
    return [table[place // size] * size + place % size for place in range(start, stop)]
