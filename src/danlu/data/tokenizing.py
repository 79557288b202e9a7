"""One source to one store: tokenized once, found again by its key, gone on with after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.progress import Bar, bar
from .chunks import Chunk, Job, Result, chunked
from .encoding import Encoder
from .formats import FORMATS
from .locks import locked
from .opening import opened
from .pool import results, workers_for
from .reading import form_of, rows_of
from .recipe import DataRecipe, HeldOut, Source
from .shards import Facts, name_of, whole_shards, write_shard
from .sources import Located, locate
from .store import Documents, finish, is_whole, open_store
from .tail import cut_of

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

VERSION = 1  # of what is stored; a change makes every store anew
SHARD_TOKENS = 1 << 24


@dataclass(frozen=True)
class Stored:
    """A source's two sides, and what the store says of itself."""

    source: Source
    train: Documents
    held_out: Documents
    facts: dict[str, Any]
    cached: bool


@dataclass(frozen=True)
class Tokenizing:
    """What tokenizing needs to know beside the source."""

    recipe: DataRecipe
    tokenizer: Tokenizer
    quiet: bool = False
    workers: int | None = None
    shard_tokens: int = SHARD_TOKENS

    def store(self, source: Source, held_out: HeldOut) -> Stored:
        """The source's store, made if it is not there; raises DataError with file and line for what cannot be read."""
        located = locate(source)
        made_from = self._made_from(located, held_out)
        folder = Path(self.recipe.cache).expanduser() / _key(made_from)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            cached = is_whole(folder)
            if not cached:
                self._make(folder, located, held_out, made_from)
        (train, held), facts = open_store(folder)
        return Stored(source, train, held, facts, cached)

    def _made_from(self, located: Located, held_out: HeldOut) -> dict[str, Any]:
        """Everything the store's bytes depend on."""
        source, pack = located.source, self.recipe.pack
        packed = pack.rows == "packed"
        return {
            "version": VERSION,
            "files": [str(file.resolve()) for file in located.files],
            "stats": [[file.stat().st_size, file.stat().st_mtime_ns] for file in located.files],
            "skipped": [str(file) for file in located.skipped],
            "format": [source.format, source.columns, source.tags],
            "loss_on": source.loss_on or self.recipe.loss_on,
            "tokenizer": self.tokenizer.fingerprint(),
            "vocab": self.tokenizer.vocab_size,
            "length": pack.length if packed else None,
            "too_long": pack.too_long if packed else "split",
            "held_out": [held_out.by, held_out.share],
        }

    def _make(self, folder: Path, located: Located, held_out: HeldOut, made_from: dict[str, Any]) -> None:
        shards = whole_shards(folder)
        sizes = [size for size, _ in made_from["stats"]]
        encoder = Encoder(self.tokenizer, length=made_from["length"], too_long=made_from["too_long"])
        jobs = self._jobs(folder, located, held_out, made_from["loss_on"])
        done = shards[-1] if shards else Facts()
        workers = workers_for(sum(sizes), self.workers)
        title = f"tokenizing {Path(located.source.from_).name}"
        with bar(title, sum(sizes), unit="bytes", done=done.read, quiet=self.quiet) as progress:
            every = results(_chunks(located, jobs, sizes, done), encoder, workers)
            with contextlib.closing(every):
                told = _told(every, progress, done.read)
                while (first := next(told, None)) is not None:
                    place = folder / name_of(len(shards))
                    shards.append(write_shard(place, told, first, self.tokenizer.vocab_size, self.shard_tokens))
        finish(folder, shards, {**made_from, "formats": [job["format"] for job in jobs.formats]})

    def _jobs(self, folder: Path, located: Located, held_out: HeldOut, loss_on: Any) -> _Jobs:
        cut = None
        if held_out.share and held_out.by == "tail":
            cut = cut_of(located, held_out.share, folder / "tail.json")
        return _Jobs(located, loss_on, held_out.share if cut is None else 0.0, cut, [])


@dataclass(frozen=True)
class _Jobs:
    """Makes the job of each file once its format is known."""

    located: Located
    loss_on: Any
    share: float
    cut: list[int] | None
    formats: list[dict[str, Any]]

    def of(self, number: int, form: Any) -> Job:
        name, source = FORMATS.name_of(form), self.located.source
        self.formats.append({"format": name})
        cut = None
        if self.cut is not None:
            file, *place = self.cut
            cut = place if number == file else [-1, 0] if number > file else [1 << 62, 0]
        path = str(self.located.files[number])
        return Job(path, number, name, source.columns, source.tags, self.loss_on, self.share, cut)


def _chunks(located: Located, jobs: _Jobs, sizes: list[int], done: Facts) -> Iterator[Chunk]:
    """The chunks of every file, from the row on at which the last whole shard ended."""
    for number, path in enumerate(located.files):
        before = sum(sizes[:number])
        with opened(path) as file:
            form, rows = form_of(located.source, path, rows_of(file))
            job = jobs.of(number, form)
            skip = 0 if number > done.file else done.row if number == done.file else None
            if skip is None:
                continue
            rest = itertools.islice(rows, skip, None)
            yield from chunked(rest, job, skip, lambda before=before, file=file: before + file.position)


def _told(every: Iterator[Result], progress: Bar, read: int) -> Iterator[Result]:
    """Moves the bar as results arrive."""
    for result in every:
        progress.advance(result.read - read)
        read = result.read
        yield result


def _key(made_from: dict[str, Any]) -> str:
    """Of all that matters; a photo laid beside the texts does not."""
    matters = {name: value for name, value in made_from.items() if name != "skipped"}
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:16]
