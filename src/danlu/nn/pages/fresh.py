"""Blocks that are still as the model made them, beside a pool of rounded ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..dims import Dims


class Fresh:
    """Room for some of a pool's blocks, (layers, room · size, K, D) twice; it grows where more are open at once."""

    def __init__(self, dims: Dims, blocks: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dims, self.size, self.device = dims, size, device
        self.place: dict[int, int] = {}  # of open blocks
        self.spare: list[int] = []
        self.expected = 0
        self.places = torch.full((blocks,), -1, dtype=torch.long, device=device)  # the same, for many at once
        shape = (dims.layers, 0, dims.kv_heads, dims.head)
        self.k, self.v = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))

    @property
    def room(self) -> int:
        return self.k.shape[1] // self.size

    @property
    def bytes_(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def expect(self, blocks: int) -> None:
        """Room for so many, at least."""
        self.expected = min(blocks, len(self.places))
        self._grow(blocks)

    def _grow(self, blocks: int) -> None:
        if (more := min(blocks, len(self.places)) - self.room) > 0:
            self.spare += range(self.room + more - 1, self.room - 1, -1)
            empty = self.k.new_empty(self.dims.layers, more * self.size, *self.k.shape[2:])
            self.k, self.v = torch.cat([self.k, empty], 1), torch.cat([self.v, empty], 1)

    def open(self, blocks: Iterable[int]) -> None:
        """These get room; those that are open stay as they are."""
        new = [block for block in dict.fromkeys(blocks) if block not in self.place]
        if len(new) > len(self.spare):
            self._grow(max(2 * self.room, len(self.place) + len(new)))
        for block in new:
            self.place[block] = self.spare.pop()
            self.places[block] = self.place[block]

    def close(self, blocks: Iterable[int]) -> None:
        """Their room is free; nothing happens to those that are not open."""
        for block in blocks:
            if (place := self.place.pop(block, None)) is not None:
                self.spare.append(place)
                self.places[block] = -1

    def trim(self) -> None:
        """Gives back room beyond what is expected and open."""
        if self.room <= max(self.expected, len(self.place)):
            return
        open_ = list(self.place)
        (k, v), layers = self.blocks(open_), self.dims.layers
        empty = self.k.new_empty(layers, max(0, self.expected - len(open_)) * self.size, *self.k.shape[2:])
        self.k, self.v = (torch.cat([x.flatten(1, 2), empty], 1) for x in (k, v))
        self.place = {block: place for place, block in enumerate(open_)}
        self.places[open_] = torch.arange(len(open_), device=self.device)
        self.spare = list(range(self.room - 1, len(open_) - 1, -1))

    def misses(self, blocks: Tensor) -> bool:
        """Whether one of these is not open."""
        return bool((self.places[blocks] < 0).any())

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        """places: (N,), those of the pool; k, v: (N, K, D)."""
        at = self.places[places // self.size] * self.size + places % self.size
        self.k[layer].index_copy_(0, at, k.to(self.k.dtype))
        self.v[layer].index_copy_(0, at, v.to(self.v.dtype))

    def read(self, layer: int, rooms: Tensor) -> tuple[Tensor, Tensor]:
        """(n · size, K, D) each."""
        k, v = (x[layer].unflatten(0, (self.room, self.size))[rooms].flatten(0, 1) for x in (self.k, self.v))
        return k, v

    def blocks(self, blocks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Open blocks of all layers, (layers, n, size, K, D) each."""
        at = torch.tensor([self.place[block] for block in blocks], dtype=torch.long, device=self.device)
        k, v = (x.unflatten(1, (self.room, self.size))[:, at] for x in (self.k, self.v))
        return k, v

    def fill(self, block: int, k: Tensor, v: Tensor) -> None:
        """k, v: (layers, size, K, D)."""
        at = slice(self.place[block] * self.size, (self.place[block] + 1) * self.size)
        self.k[:, at], self.v[:, at] = k, v
