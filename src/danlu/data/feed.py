"""Batches from a stock: an endless shuffled stream that knows where it is, and one ordered pass for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..core.batch import Batch
from ..core.errors import CheckpointError, DataError
from ..core.rng import derive
from .rows import NO_EPOCH, Cells, Rows
from .stock import Stock

BLOCK = 1024


def stream(stock: Stock, *, rows: int, length: int, seed: int) -> Stream:
    """Batches of ``rows`` rows without end; each source is shuffled anew every epoch, shares are exact in tokens."""
    return Stream(stock, rows=rows, length=length, seed=seed)


def once(stock: Stock, *, rows: int, length: int) -> Iterator[Batch]:
    """Every row once, in order; the last batch may have fewer rows."""
    every = [(part, row) for _, part in stock.sources(length) for row in range(part.count(NO_EPOCH))] if stock else []
    for first in range(0, len(every), rows):
        chosen = every[first : first + rows]
        cells = Cells.empty(len(chosen), length, stock.pad)
        for at, (part, row) in enumerate(chosen):
            part.write(row, NO_EPOCH, cells, at)
        yield _batch(cells)


class Stream:
    """An endless stream of batches of shape (rows, length).

    The next row comes from the source that is furthest behind its share of the tokens given so far; within a source
    rows come in a shuffled order, another one each epoch. The state is a few numbers: restored, even with other
    ``rows``, the next row is the one that would have come next.
    """

    def __init__(self, stock: Stock, *, rows: int, length: int, seed: int) -> None:
        if not stock:
            raise DataError("there is nothing to train on: all documents were dropped or held out; see the data report")
        self.stock, self.rows, self.length, self.seed = stock, rows, length, seed
        self.cursors = [
            _Cursor(part, share, seed, number) for number, (share, part) in enumerate(stock.sources(length))
        ]
        self.latest: list[tuple[Rows, int, int]] = []

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next()

    def next(self) -> Batch:
        """The next batch."""
        cells = Cells.empty(self.rows, self.length, self.stock.pad)
        self.latest = []
        for at in range(self.rows):
            cursor = min(self.cursors, key=lambda c: c.taken / c.share)  # of equals the first
            row, epoch = cursor.next()
            cursor.taken += cursor.part.write(row, epoch, cells, at)
            self.latest.append((cursor.part, row, epoch))
        return _batch(cells)

    def places(self) -> list[list[str]]:
        """``file:line`` of the documents in each row of the latest batch."""
        return [part.places(row, epoch) for part, row, epoch in self.latest]

    @property
    def epoch(self) -> int:
        """How often the source that came round least has been seen whole."""
        return min(c.epoch + (c.place >= c.part.count(c.epoch)) for c in self.cursors)

    def state(self) -> dict[str, Any]:
        cursors = [{"epoch": c.epoch, "next": c.place, "taken": c.taken} for c in self.cursors]
        return {"stock": self.stock.digest, "length": self.length, "seed": self.seed, "cursors": cursors}

    def restore(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError if the state is of other data, another length or seed."""
        for key, own in (("stock", self.stock.digest), ("length", self.length), ("seed", self.seed)):
            if state.get(key) != own:
                raise CheckpointError(
                    f"the data cursor belongs to another {key} ({state.get(key)!r}, not {own!r}); "
                    "restore the data and recipe of that run, or begin a new run"
                )
        for cursor, saved in zip(self.cursors, state["cursors"], strict=True):
            cursor.epoch, cursor.place, cursor.taken = saved["epoch"], saved["next"], saved["taken"]
            cursor.forget()


class _Cursor:
    """Where a stream is in one source."""

    def __init__(self, part: Rows, share: float, seed: int, number: int) -> None:
        self.part, self.share, self.seed = part, share, derive(seed, "source", number)
        self.epoch, self.place, self.taken = 0, 0, 0
        self.forget()

    def forget(self) -> None:
        self.block: list[int] = []
        self.block_start = 0

    def next(self) -> tuple[int, int]:
        """The next row and its epoch."""
        if self.place >= self.part.count(self.epoch):
            self.epoch, self.place = self.epoch + 1, 0
            self.forget()
        if not self.block_start <= self.place < self.block_start + len(self.block):
            stop = min(self.place + BLOCK, self.part.count(self.epoch))
            self.block = self.part.order(self.epoch, self.place, stop, self.seed).tolist()
            self.block_start = self.place
        row = self.block[self.place - self.block_start]
        self.place += 1
        return row, self.epoch


def _batch(cells: Cells) -> Batch:
    done = cells.closed()
    arrays = (done.tokens, done.targets, done.weight, done.segment, done.position)
    return Batch(*(torch.from_numpy(array) for array in arrays))
