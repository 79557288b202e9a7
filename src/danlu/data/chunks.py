"""The unit of work: some rows of one file on the way in, two sides of tokens on the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..core.errors import DataError
from .documents import Document, Place, Text
from .encoding import Encoded, Encoder, Notes
from .formats import FORMATS
from .readers import Row
from .reading import document_of
from .recipe import LossOn

SIDES = ("train", "held_out")
CHUNK_BYTES, CHUNK_ROWS = 1 << 19, 256


@dataclass(frozen=True)
class Job:
    """What is the same for many chunks: the file, its format, what is trained, and how rows are held out.

    ``share`` is held out by hash; ``cut`` = [row of the file, character of that row] begins the held-out tail.
    """

    file: str
    number: int
    format: str
    columns: dict[str, str] | None
    tags: dict[str, str] | None
    loss_on: LossOn
    share: float = 0.0
    cut: list[int] | None = None


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one file; ``first`` counts the rows of the file before them, ``read`` its bytes so far."""

    job: Job
    first: int
    rows: list[Row]
    read: int

    def write(self) -> tuple[dict[str, Any], list[bytes]]:
        """A JSON header and blobs."""
        lines = np.array([row.line for row in self.rows], np.int64)
        sizes = np.array([len(row.raw) for row in self.rows], np.int64)
        ends = np.array([row.first + 2 * row.last for row in self.rows], np.uint8)
        header = {"job": asdict(self.job), "first": self.first, "read": self.read}
        return header, [lines.tobytes(), sizes.tobytes(), ends.tobytes(), b"".join(row.raw for row in self.rows)]

    @classmethod
    def parse(cls, header: dict[str, Any], blobs: list[bytes]) -> Chunk:
        lines, sizes = np.frombuffer(blobs[0], np.int64).tolist(), np.frombuffer(blobs[1], np.int64)
        starts = (np.cumsum(sizes) - sizes).tolist()
        places = zip(lines, starts, sizes.tolist(), blobs[2], strict=True)
        rows = [Row(n, blobs[3][a : a + size], bool(e & 1), bool(e & 2)) for n, a, size, e in places]
        return cls(Job(**header["job"]), header["first"], rows, header["read"])


@dataclass
class Side:
    """Documents side by side: tokens, their lengths and lines, and weights as runs of equal ones."""

    tokens: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray
    run_lengths: np.ndarray
    run_weights: np.ndarray
    supervised: int

    DTYPES = (np.uint32, np.uint32, np.int64, np.int64, np.float32)

    @classmethod
    def of(cls, documents: list[Encoded]) -> Side:
        if not documents:
            return cls(*(np.zeros(0, dtype) for dtype in cls.DTYPES), supervised=0)
        weights = np.concatenate([document.weights for document in documents])
        edges = np.flatnonzero(weights[1:] != weights[:-1]) + 1
        starts = np.concatenate([[0], edges]) if len(weights) else edges
        return cls(
            np.concatenate([document.tokens for document in documents]),
            np.array([len(document.tokens) for document in documents], np.uint32),
            np.array([document.line for document in documents], np.int64),
            np.diff(np.append(starts, len(weights))).astype(np.int64),
            weights[starts].astype(np.float32),
            sum(int(np.count_nonzero(document.weights[1:])) for document in documents),
        )

    def write(self) -> list[bytes]:
        return [
            array.tobytes() for array in (self.tokens, self.lengths, self.lines, self.run_lengths, self.run_weights)
        ]

    @classmethod
    def parse(cls, blobs: list[bytes], supervised: int) -> Side:
        arrays = [np.frombuffer(blob, dtype) for blob, dtype in zip(blobs, cls.DTYPES, strict=True)]
        return cls(*arrays, supervised=supervised)


@dataclass
class Result:
    """A chunk's tokens on both sides, how many rows and characters went in, and what was cut."""

    job: Job
    first: int
    rows: int
    characters: int
    read: int
    sides: list[Side]
    notes: Notes = field(default_factory=Notes)

    def write(self) -> tuple[dict[str, Any], list[bytes]]:
        header = {"first": self.first, "rows": self.rows, "characters": self.characters, "read": self.read}
        counts = {"supervised": [side.supervised for side in self.sides], "notes": self.notes.reasons}
        return {**header, **counts, "job": asdict(self.job)}, [blob for side in self.sides for blob in side.write()]

    @classmethod
    def parse(cls, header: dict[str, Any], blobs: list[bytes]) -> Result:
        half = len(blobs) // 2
        sides = [Side.parse(b, n) for b, n in zip((blobs[:half], blobs[half:]), header["supervised"], strict=True)]
        counts = (header["first"], header["rows"], header["characters"], header["read"])
        return cls(Job(**header["job"]), *counts, sides, Notes(header["notes"]))


def chunked(rows: Iterator[Row], job: Job, first: int, position: Any) -> Iterator[Chunk]:
    """Greedy chunks of whole rows; where they end depends only on where they begin."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.raw)
        if size >= CHUNK_BYTES or len(held) == CHUNK_ROWS:
            yield Chunk(job, first, held, position())
            first, held, size = first + len(held), [], 0
    if held:
        yield Chunk(job, first, held, position())


def encoded(chunk: Chunk, encoder: Encoder) -> Result:
    """A chunk's rows as tokens on the side they belong to; raises DataError with file and line."""
    job, notes = chunk.job, Notes()
    form = FORMATS[job.format](columns=job.columns, tags=job.tags)
    documents = [document_of(row, job.file, form) for row in chunk.rows]
    placed = [piece for i, document in enumerate(documents) for piece in _placed(document, chunk.first + i, job)]
    sides: list[list[Encoded]] = [[], []]
    pieces = encoder.encode([document for document, _ in placed], job.loss_on, notes)
    for (_, side), made in zip(placed, pieces, strict=True):
        sides[side] += made
    made_sides = [Side.of(side) for side in sides]
    _check_ids(made_sides, encoder.tokenizer.vocab_size, job.file)
    characters = sum(document.characters for document in documents)
    counts = (chunk.first, len(chunk.rows), characters, chunk.read)
    return Result(job, *counts, made_sides, notes)


def _check_ids(sides: list[Side], vocab: int, file: str) -> None:
    """A tokenizer that gives ids beyond its own vocabulary would crash the model far from here."""
    worst = max((int(side.tokens.max()) for side in sides if len(side.tokens)), default=0)
    if worst >= vocab:
        raise DataError(f"the tokenizer gave the id {worst} beyond its vocabulary of {vocab}; repair it", file=file)


def _placed(document: Document, row: int, job: Job) -> list[tuple[Document, int]]:
    """The document with its side: 0 trains, 1 is held out; the text in which the tail begins is cut there."""
    if job.cut is None:
        return [(document, int(job.share > 0 and document.digest() < job.share * 2**64))]
    cut_row, character = job.cut
    if row != cut_row or not isinstance(document, Text) or character in (0, len(document.text)):
        return [(document, int(row > cut_row or (row == cut_row and character == 0)))]
    kept, tail = document.text[:character], document.text[character:]
    line = document.place.line + kept.count("\n")
    return [
        (Text(kept, document.place, document.first, False), 0),
        (Text(tail, Place(document.place.file, line), False, document.last), 1),
    ]
