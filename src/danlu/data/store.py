"""A source's tokens on disk, opened by memory mapping: documents of one side, wherever their shards are."""

from __future__ import annotations

import bisect
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError
from ..core.files import MANIFEST, atomic_folder, read_json, seal, sha256, write_json
from .chunks import SIDES
from .shards import KINDS, Facts, check, name_of, token_type

DONE = "store.json"
INDEX = "index"
OPEN_SHARDS = 64
BLOCK = 1 << 20


@dataclass(frozen=True)
class Mapped:
    """One side of one shard."""

    tokens: np.ndarray
    run_ends: np.ndarray
    run_weights: np.ndarray


class Documents:
    """The documents of one side of a store: document i is tokens ``starts[i]:starts[i + 1]`` of all shards joined."""

    def __init__(self, folder: Path, side: str, counts: list[tuple[int, int]], facts: dict[str, Any]) -> None:
        self.folder, self.side, self.vocab, self.files = folder, side, facts["vocab"], facts["files"]
        self.digest = facts["digests"][side]
        self.token_starts = [0, *np.cumsum([tokens for tokens, _ in counts]).tolist()]
        self.document_starts = [0, *np.cumsum([documents for _, documents in counts]).tolist()]
        self.starts = mapped(folder / INDEX / f"{side}.starts.bin", np.int64)
        self._open: OrderedDict[int, Mapped] = OrderedDict()

    def __len__(self) -> int:
        return self.document_starts[-1]

    @property
    def tokens(self) -> int:
        return self.token_starts[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens start:stop of all documents joined."""
        parts = [shard.tokens[a:b] for shard, a, b in self._parts(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, token_type(self.vocab))

    def weights(self, start: int, stop: int) -> np.ndarray:
        """How much predicting tokens start:stop counts."""
        parts = [_weights(shard, a, b) for shard, a, b in self._parts(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def place(self, document: int) -> str:
        """``file:line`` of a document."""
        shard = bisect.bisect_right(self.document_starts, document) - 1
        folder, i = self.folder / name_of(shard), document - self.document_starts[shard]
        line = mapped(folder / f"{self.side}.lines.bin", np.int64)[i]
        return f"{self.files[mapped(folder / f'{self.side}.files.bin', np.uint32)[i]]}:{line}"

    def _parts(self, start: int, stop: int) -> list[tuple[Mapped, int, int]]:
        """The shards a range lies in, each with the range inside it."""
        parts = []
        shard = bisect.bisect_right(self.token_starts, start) - 1
        while start < stop:
            base, end = self.token_starts[shard], min(stop, self.token_starts[shard + 1])
            if end > start:
                parts.append((self._shard(shard), start - base, end - base))
            start, shard = end, shard + 1
        return parts

    def _shard(self, number: int) -> Mapped:
        """Mapped, the least recently used closed: file handles are finite."""
        if number not in self._open:
            folder = self.folder / name_of(number)
            names = {
                "tokens": token_type(self.vocab),
                "run_ends": KINDS["run_ends"],
                "run_weights": KINDS["run_weights"],
            }
            arrays = [mapped(folder / f"{self.side}.{name}.bin", dtype) for name, dtype in names.items()]
            self._open[number] = Mapped(*arrays)
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


def mapped(file: Path, dtype: Any) -> np.ndarray:
    """A flat file as a read-only array that the operating system pages in."""
    if file.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.memmap(file, dtype, mode="r").view(np.ndarray)


def _weights(shard: Mapped, start: int, stop: int) -> np.ndarray:
    first = int(np.searchsorted(shard.run_ends, start, "right"))
    if shard.run_ends[first] >= stop:
        return np.full(stop - start, shard.run_weights[first])
    last = int(np.searchsorted(shard.run_ends, stop, "left"))
    ends = np.minimum(shard.run_ends[first : last + 1], stop)
    return np.repeat(shard.run_weights[first : last + 1], np.diff(np.concatenate([[start], ends])))


def finish(folder: Path, shards: list[Facts], made_from: dict[str, Any]) -> None:
    """Writes the index of where documents start, and last of all the file that makes the store whole."""
    if not (folder / INDEX).exists():
        with atomic_folder(folder / INDEX) as draft:
            for side in SIDES:
                _write_starts(folder, draft / f"{side}.starts.bin", side, len(shards))
            seal(draft)
    hashes = {name: sha256(folder / name / MANIFEST) for name in _folders(len(shards))}
    digests = {side: _digest(folder, side, len(shards)) for side in SIDES}
    facts = {"manifests": hashes, "digests": digests, "shards": [vars(facts) for facts in shards]}
    write_json(folder / DONE, {**made_from, **facts})


def _digest(folder: Path, side: str, shards: int) -> str:
    """Of tokens, lengths and weights alone: the same on every machine, wherever the source lay."""
    digest = hashlib.sha256()
    for number in range(shards):
        files = read_json(folder / name_of(number) / MANIFEST)["files"]
        for kind in ("tokens", "lengths", "run_ends", "run_weights"):
            digest.update(files[f"{side}.{kind}.bin"]["sha256"].encode())
    return digest.hexdigest()


def _write_starts(folder: Path, file: Path, side: str, shards: int) -> None:
    """Block by block: the array may be larger than memory."""
    with open(file, "wb") as sink:
        end = 0
        sink.write(np.zeros(1, np.int64).data)
        for number in range(shards):
            lengths = mapped(folder / name_of(number) / f"{side}.lengths.bin", np.uint32)
            for place in range(0, len(lengths), BLOCK):
                ends = end + np.cumsum(lengths[place : place + BLOCK], dtype=np.int64)
                sink.write(ends.data)
                end = int(ends[-1])


def is_whole(folder: Path) -> bool:
    return (folder / DONE).is_file()


def open_store(folder: Path) -> tuple[list[Documents], dict[str, Any]]:
    """Both sides of a finished store and what it says of itself; raises DataError if a byte was changed."""
    facts = read_json(folder / DONE, "the list of a store's shards")
    for name in _folders(len(facts["shards"])):
        manifest = folder / name / MANIFEST
        if not manifest.is_file() or sha256(manifest) != facts["manifests"][name]:
            raise DataError(f"{folder / name}: is missing or changed; delete {folder} and run again: it is made anew")
        check(folder / name)
    sides = []
    for i, side in enumerate(SIDES):
        counts = [(shard["tokens"][i], shard["documents"][i]) for shard in facts["shards"]]
        sides.append(Documents(folder, side, counts, facts))
    return sides, facts


def _folders(shards: int) -> list[str]:
    return [*(name_of(number) for number in range(shards)), INDEX]
