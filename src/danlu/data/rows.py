"""Rows of a stock: how many an epoch has, in which order, and what stands in each."""

from __future__ import annotations

import bisect
import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..core.batch import IGNORE
from ..core.rng import derive
from .packing import Plan
from .permutation import permuted
from .store import Documents

NO_EPOCH = -1  # of the pass in which every token is predicted once, in order


@dataclass(frozen=True)
class Cells:
    """Rows under construction, all (B, T); what is not filled stays padding."""

    tokens: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    segment: np.ndarray
    position: np.ndarray

    @classmethod
    def empty(cls, rows: int, length: int, pad: int) -> Self:
        shape = (rows, length)
        zeros, targets = np.zeros(shape, np.int64), np.full(shape, IGNORE, np.int64)
        return cls(np.full(shape, pad, np.int64), targets, np.zeros(shape, np.float32), zeros, zeros.copy())

    def put(self, row: int, start: int, tokens: np.ndarray, weights: np.ndarray, segment: int) -> int:
        """One document's predictions from slot ``start`` on: tokens[:-1] predict tokens[1:]; the slot after them."""
        stop = start + len(tokens) - 1
        place = (row, slice(start, stop))
        self.tokens[place] = tokens[:-1]
        self.targets[place] = tokens[1:]
        self.weight[place] = weights[1:]
        self.segment[place] = segment
        self.position[place] = np.arange(stop - start)
        return stop

    def closed(self) -> Self:
        """What does not count is not a target."""
        self.targets[self.weight == 0] = IGNORE
        return self


class Rows(ABC):
    """Rows of one length from one or several sources; an epoch shows each row once."""

    @abstractmethod
    def count(self, epoch: int) -> int: ...

    @abstractmethod
    def write(self, row: int, epoch: int, cells: Cells, at: int) -> int:
        """Fills row ``at`` of the cells; the number of predictions written."""

    @abstractmethod
    def places(self, row: int, epoch: int) -> list[str]:
        """``file:line`` of the documents in a row."""

    def order(self, epoch: int, start: int, stop: int, seed: int) -> np.ndarray:
        """Which rows stand at start:stop of an epoch's shuffled order."""
        return permuted(np.arange(start, stop), self.count(epoch), derive(seed, "order", epoch))


class Packed(Rows):
    """Rows of whole documents by a plan; the same rows each epoch, in another order."""

    def __init__(self, documents: Documents, plan: Plan) -> None:
        self.documents, self.plan = documents, plan

    def count(self, epoch: int) -> int:
        return len(self.plan)

    def write(self, row: int, epoch: int, cells: Cells, at: int) -> int:
        index = self.plan.documents[self.plan.starts[row] : self.plan.starts[row + 1]]
        starts, stops = self.documents.starts[index].tolist(), self.documents.starts[index + 1].tolist()
        slot = 0
        for segment, (start, stop) in enumerate(zip(starts, stops, strict=True), start=1):
            tokens, weights = self.documents.read(start, stop), self.documents.weights(start, stop)
            slot = cells.put(at, slot, tokens, weights, segment)
        return slot

    def places(self, row: int, epoch: int) -> list[str]:
        index = self.plan.documents[self.plan.starts[row] : self.plan.starts[row + 1]]
        return [self.documents.place(int(i)) for i in index]


class Windows(Rows):
    """Windows of ``length`` over all documents joined, from another first token each epoch."""

    def __init__(self, documents: Documents, length: int, seed: int) -> None:
        self.documents, self.length, self.seed = documents, length, seed
        self.predictions = max(0, documents.tokens - 1)

    def first(self, epoch: int) -> int:
        """The offset of an epoch's windows, in [0, length)."""
        if epoch == NO_EPOCH or self.predictions <= self.length:
            return 0
        return derive(self.seed, "window", epoch) % min(self.length, self.predictions - self.length + 1)

    def count(self, epoch: int) -> int:
        if epoch == NO_EPOCH or self.predictions <= self.length:
            return -(-self.predictions // self.length)
        return (self.predictions - self.first(epoch)) // self.length

    def write(self, row: int, epoch: int, cells: Cells, at: int) -> int:
        start, stop = self._range(row, epoch)
        return cells.put(at, 0, self.documents.read(start, stop), self.documents.weights(start, stop), 1)

    def places(self, row: int, epoch: int) -> list[str]:
        start, stop = self._range(row, epoch)
        first = int(np.searchsorted(self.documents.starts, start, "right")) - 1
        last = int(np.searchsorted(self.documents.starts, stop, "left"))
        return [self.documents.place(i) for i in range(first, last)]

    def _range(self, row: int, epoch: int) -> tuple[int, int]:
        start = self.first(epoch) + row * self.length
        return start, min(start + self.length + 1, self.documents.tokens)


class Joined(Rows):
    """Rows of several sources as one: shuffled together, each row once an epoch."""

    def __init__(self, parts: list[Rows]) -> None:
        self.parts = parts

    def count(self, epoch: int) -> int:
        return sum(part.count(epoch) for part in self.parts)

    def write(self, row: int, epoch: int, cells: Cells, at: int) -> int:
        part, inner = self._part(row, epoch)
        return part.write(inner, epoch, cells, at)

    def places(self, row: int, epoch: int) -> list[str]:
        part, inner = self._part(row, epoch)
        return part.places(inner, epoch)

    def _part(self, row: int, epoch: int) -> tuple[Rows, int]:
        ends = list(itertools.accumulate(part.count(epoch) for part in self.parts))
        number = bisect.bisect_right(ends, row)
        return self.parts[number], row - (ends[number - 1] if number else 0)
