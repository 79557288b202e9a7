"""Rows that grow together, over a pool of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError, ShapeError
from ..dims import Dims
from ..layout import Keys
from ..pages import Pages, Table
from . import KvCache

BLOCK = 16
"""Tokens a block."""


class OverPages(KvCache, ABC):
    """Each row has blocks of its own, as many as the newest ``kept`` tokens need; they are written again in turn.

    This call's keys are answered as they came; those of earlier calls as the pages keep them.
    Raises: ShapeError if more than ``capacity`` tokens are stored; ConfigError if a row is taken back to a token whose
    past was forgotten.
    """

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", *, kept: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(dims, rows, capacity, dtype, device)
        self.kept = capacity if kept is None else min(kept, capacity)
        self.each = -(-self.kept // BLOCK) + (self.kept < capacity)  # blocks a row
        self.pages = self.made(rows * self.each)
        self.pages.expect(rows, 0)
        self.position, self.segment = (torch.zeros(rows, capacity, dtype=torch.long, device=device) for _ in range(2))
        self.filled = [0] * dims.layers
        self.settled = self.oldest = 0  # blocks a row that may be rounded; the first token that is still there
        self.earlier: list[Any] = []
        self.places = torch.empty(0, dtype=torch.long)
        self._sit = self.position, self.segment

    @abstractmethod
    def made(self, blocks: int) -> Pages:
        """The pool."""

    @property
    def length(self) -> int:
        return min(self.filled)

    @property
    def bytes_(self) -> int:
        """What keys and values take."""
        return self.pages.bytes_

    def append(self, layer: int, new: Keys) -> Keys:
        start, fed = self.filled[layer], new.k.shape[1]
        stop = start + fed
        if stop > self.capacity:
            raise ShapeError(f"a cache of {self.capacity} tokens a row cannot hold {stop}; make it larger")
        if start == max(self.filled):  # the first layer to come so far says for all where the tokens sit
            self._begin(start, stop, new)
        self.filled[layer] = stop
        k, v = self._read(layer, new)
        late = slice(max(0, fed - self.kept), None)
        self.pages.write(layer, self.places, new.k[:, late].flatten(0, 1), new.v[:, late].flatten(0, 1))
        return Keys(k, v, *self._sit)

    def truncate(self, length: int) -> None:
        if length and max(0, length - self.kept) < self.oldest and length < max(self.filled):
            raise ConfigError(
                f"a cache of the newest {self.kept} tokens cannot go back to token {length} of {max(self.filled)}; "
                "begin anew, or keep more"
            )
        self.filled = [min(length, filled) for filled in self.filled]
        self.settled, self.oldest = min(self.settled, length // BLOCK), min(self.oldest, length)

    def select(self, rows: Sequence[int]) -> None:
        old, self.pages = self.pages, self.pages.twin(len(rows) * self.each)
        self.pages.expect(len(rows), 0)
        used = range(min(self.each, -(-max(self.filled) // BLOCK)))
        self.pages.bring(old, [(row * self.each + j, n * self.each + j) for n, row in enumerate(rows) for j in used])
        index = torch.tensor(list(rows), device=self.device)
        self.position, self.segment = self.position[index], self.segment[index]
        self.rows = len(rows)

    def _begin(self, start: int, stop: int, new: Keys) -> None:
        """What is true of all layers of a call: where its tokens sit, and where the earlier ones lie."""
        self._settle(start)
        self.position[:, start:stop], self.segment[:, start:stop] = new.position, new.segment
        first, self.oldest = max(0, start - self.kept), max(self.oldest, stop - self.kept)
        self._sit = self.position[:, first:stop], self.segment[:, first:stop]
        tables = [self._table(row, stop) for row in range(self.rows)]
        self.earlier = [self.pages.find(table, first, start) for table in tables] if start else []
        late = range(max(start, stop - self.kept), stop)
        places = [table[at // BLOCK] * BLOCK + at % BLOCK for table in tables for at in late]
        self.places = torch.tensor(places, device=self.device)

    def _settle(self, length: int) -> None:
        """Blocks that are old enough by now may be rounded."""
        if self.pages.whole is None:
            return
        old = max(0, length - self.pages.whole) // BLOCK
        self.pages.settled([self._table(row, length)[j] for row in range(self.rows) for j in range(self.settled, old)])
        self.settled = max(self.settled, old)

    def _read(self, layer: int, new: Keys) -> tuple[Tensor, Tensor]:
        """All keys and values that this call may look at, (B, S, K, D)."""
        if not self.earlier:
            return new.k, new.v
        k, v = zip(*(self.pages.read(layer, where) for where in self.earlier), strict=True)
        return torch.cat([torch.stack(k), new.k], 1), torch.cat([torch.stack(v), new.v], 1)

    def _table(self, row: int, tokens: int) -> Table:
        return tuple(row * self.each + j % self.each for j in range(-(-tokens // BLOCK)))
