"""Which documents share a row: whole ones, best fit, with a bounded number of rows open at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.errors import ConfigError
from ..core.files import atomic_folder, seal
from ..core.progress import bar
from ..core.rng import derive
from .locks import locked
from .permutation import permuted
from .shards import check
from .store import Documents, mapped

OPEN_ROWS = 1024
BLOCK = 1 << 14


@dataclass(frozen=True)
class Plan:
    """Row r holds documents ``documents[starts[r]:starts[r + 1]]`` and predicts ``filled[r]`` tokens."""

    documents: np.ndarray
    starts: np.ndarray
    filled: np.ndarray

    def __len__(self) -> int:
        return len(self.filled)


def pack(sizes: Iterator[tuple[int, int]], length: int, open_rows: int = OPEN_ROWS) -> Iterator[list[int]]:
    """Rows of document numbers from (document, slots) pairs, every document in exactly one row.

    Best fit: a document goes to the open row it leaves the least room in; a row is closed when full, or as the fullest
    when more than ``open_rows`` are open. Rows of documents come out in a fixed order.
    Source: Johnson et al. 1974, "Worst-case performance bounds for simple one-dimensional packing algorithms".
    Truth:  tests/properties/test_packing.py (no document lost, doubled or cut; never worse than next fit).
    """
    rooms: dict[int, list[list[int]]] = {}  # open rows by the slots left in them
    mask, count = 0, 0  # bit r is set while a row with r slots left is open
    for document, size in sizes:
        fitting = mask >> size
        room = size + (fitting & -fitting).bit_length() - 1 if fitting else length
        row = rooms[room].pop() if fitting else []
        if fitting and not rooms[room]:
            mask &= ~(1 << room)
        count -= bool(fitting)
        row.append(document)
        if room == size:
            yield row
            continue
        rooms.setdefault(room - size, []).append(row)
        mask |= 1 << (room - size)
        count += 1
        if count > open_rows:
            fullest = (mask & -mask).bit_length() - 1
            yield rooms[fullest].pop(0)
            if not rooms[fullest]:
                mask &= ~(1 << fullest)
            count -= 1
    for room in sorted(rooms):
        yield from rooms[room]


def plan(documents: Documents, length: int, seed: int, quiet: bool = True) -> Plan:
    """The plan of a side's documents in a shuffled order, made once and kept beside the store."""
    name = f"{documents.side} {documents.digest} {length} {seed}"
    folder = documents.folder / f"plan-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    with locked(documents.folder):
        if folder.is_dir():
            check(folder)
        else:
            _write(folder, documents, length, seed, quiet)
    arrays = (mapped(folder / f"{name}.bin", np.int64) for name in ("documents", "starts", "filled"))
    return Plan(*arrays)


def _write(folder: Path, documents: Documents, length: int, seed: int, quiet: bool) -> None:
    with atomic_folder(folder) as draft:
        with (
            open(draft / "documents.bin", "wb") as order,
            open(draft / "starts.bin", "wb") as starts,
            open(draft / "filled.bin", "wb") as filled,
            bar("packing", len(documents), unit="documents", quiet=quiet) as progress,
        ):
            starts.write(np.zeros(1, np.int64).data)
            end, held = 0, []
            for row in pack(_sizes(documents, length, seed), length):
                held.append(row)
                if len(held) == BLOCK:
                    end = _flush(held, end, documents, (order, starts, filled))
                    progress.advance(sum(map(len, held)))
                    held = []
            _flush(held, end, documents, (order, starts, filled))
        seal(draft)


def _sizes(documents: Documents, length: int, seed: int) -> Iterator[tuple[int, int]]:
    """(document, slots) in a shuffled order, block by block."""
    for first in range(0, len(documents), BLOCK):
        index = permuted(np.arange(first, min(first + BLOCK, len(documents))), len(documents), derive(seed, "pack"))
        sizes = documents.starts[index + 1] - documents.starts[index] - 1
        if len(sizes) and sizes.max() > length:
            worst = int(index[sizes.argmax()])
            raise ConfigError(
                f"{documents.place(worst)}: predicts {sizes.max()} tokens where rows hold {length}; "
                "ask for the length the data was built with"
            )
        yield from zip(index.tolist(), sizes.tolist(), strict=True)


def _flush(rows: list[list[int]], end: int, documents: Documents, sinks: tuple[BinaryIO, BinaryIO, BinaryIO]) -> int:
    """Writes some rows; the number of documents written so far."""
    if not rows:
        return end
    index = np.fromiter((document for row in rows for document in row), np.int64)
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    ends = end + np.cumsum(counts)
    sizes = documents.starts[index + 1] - documents.starts[index] - 1
    filled = np.add.reduceat(sizes, np.cumsum(counts) - counts)
    for sink, array in zip(sinks, (index, ends, filled), strict=True):
        sink.write(array.astype(np.int64).data)
    return int(ends[-1])
