"""The finished pieces of a store: folders of flat arrays, written once, sealed with hashes, never changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core.errors import CheckpointError, DataError
from ..core.files import atomic_folder, read_json, remove_drafts, seal, verify, write_json
from .chunks import SIDES, Result, Side
from .encoding import Notes

FACTS = "facts.json"
KINDS = {"lengths": np.uint32, "lines": np.int64, "files": np.uint32, "run_ends": np.int64, "run_weights": np.float32}


@dataclass
class Facts:
    """What a shard holds: counts by side, what was cut, and up to which file and row the source has been read."""

    tokens: list[int] = field(default_factory=lambda: [0, 0])
    documents: list[int] = field(default_factory=lambda: [0, 0])
    supervised: list[int] = field(default_factory=lambda: [0, 0])
    rows: int = 0
    characters: int = 0
    file: int = 0
    row: int = 0
    read: int = 0
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        for i, side in enumerate(result.sides):
            self.tokens[i] += len(side.tokens)
            self.documents[i] += len(side.lengths)
            self.supervised[i] += side.supervised
        self.rows += result.rows
        self.characters += result.characters
        self.file, self.row, self.read = result.job.number, result.first + result.rows, result.read
        notes = Notes(self.notes)
        notes.merge(result.notes.reasons)


def token_type(vocab: int) -> Any:
    """Two bytes a token where the vocabulary allows it."""
    return np.uint16 if vocab <= 1 << 16 else np.uint32


def name_of(number: int) -> str:
    return f"shard-{number:05d}"


def write_shard(folder: Path, results: Iterator[Result], first: Result, vocab: int, limit: int) -> Facts:
    """One shard of at least ``limit`` tokens (fewer at the end of the source); it exists whole or not at all."""
    facts = Facts()
    with atomic_folder(folder) as draft:
        with ExitStack() as stack:
            sinks = [_Sink(draft, side, token_type(vocab), stack) for side in SIDES]
            result: Result | None = first
            while result is not None:
                facts.add(result)
                for sink, side in zip(sinks, result.sides, strict=True):
                    sink.append(side, result.job.number)
                result = next(results, None) if sum(facts.tokens) < limit else None
            for sink in sinks:
                sink.end_run()
        write_json(draft / FACTS, vars(facts))
        seal(draft)
    return facts


def read_facts(folder: Path) -> Facts:
    return Facts(**read_json(folder / FACTS, "the facts of a shard"))


def check(folder: Path) -> None:
    """Raises DataError if a byte of a sealed folder changed since it was written."""
    try:
        verify(folder)
    except CheckpointError as error:
        fault = str(error).split(";")[0]
        raise DataError(f"{fault}; delete {folder.parent} and run again: it is made anew from the sources") from None


def whole_shards(store: Path) -> list[Facts]:
    """The shards of an unfinished store that are whole; what comes after them is removed, drafts too."""
    remove_drafts(store)
    found: list[Facts] = []
    while (folder := store / name_of(len(found))).is_dir():
        try:
            check(folder)
        except DataError:
            break
        found.append(read_facts(folder))
    for folder in store.glob("shard-*"):
        if folder.name >= name_of(len(found)):
            shutil.rmtree(folder)
    return found


class _Sink:
    """Appends documents of one side to flat files; equal weights of neighbors become one run."""

    def __init__(self, folder: Path, side: str, dtype: Any, stack: ExitStack) -> None:
        names = {"tokens": dtype, **KINDS}
        self.files: dict[str, BinaryIO] = {
            name: stack.enter_context((folder / f"{side}.{name}.bin").open("wb")) for name in names
        }
        self.dtype, self.end, self.weight = dtype, 0, None

    def append(self, side: Side, file: int) -> None:
        self._write("tokens", side.tokens.astype(self.dtype))
        self._write("lengths", side.lengths)
        self._write("lines", side.lines)
        self._write("files", np.full(len(side.lengths), file, np.uint32))
        if len(side.run_lengths):
            self._runs(self.end + np.cumsum(side.run_lengths), side.run_weights)
            self.end += int(side.run_lengths.sum())

    def _runs(self, ends: np.ndarray, weights: np.ndarray) -> None:
        """All but the last run are final; the last may go on in the next chunk."""
        if self.weight is not None and self.weight != weights[0]:
            self.end_run()
        keep = np.append(np.diff(weights) != 0, False)
        self._write("run_ends", ends[keep].astype(np.int64))
        self._write("run_weights", weights[keep])
        self.weight = weights[-1]

    def end_run(self) -> None:
        if self.weight is not None:
            self._write("run_ends", np.array([self.end], np.int64))
            self._write("run_weights", np.array([self.weight], np.float32))
            self.weight = None

    def _write(self, name: str, array: np.ndarray) -> None:
        self.files[name].write(np.ascontiguousarray(array).data)
