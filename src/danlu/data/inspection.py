"""A look at a source before training: how long its rows are, what would be cut, and which tokens the loss counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .chunks import CHUNK_ROWS
from .documents import Document
from .encoding import Encoded, Encoder, Notes
from .reading import read_documents
from .recipe import LossOn, Source, TooLong
from .sources import locate

if TYPE_CHECKING:
    from ..tokenize import Tokenizer


@dataclass(frozen=True)
class Shown:
    """One row as the model sees it: pieces of text, each with how much predicting it counts."""

    place: str
    pieces: list[tuple[str, float]]


@dataclass
class Inspection:
    """What was found in the first rows of a source; ``whole`` says whether these are all."""

    source: str
    length: int
    files: list[str]
    rows: int = 0
    whole: bool = True
    tokens: int = 0
    supervised: int = 0
    characters: int = 0
    sizes: list[int] = field(default_factory=list)  # tokens of each document as trained
    cut: Notes = field(default_factory=Notes)
    shown: list[Shown] = field(default_factory=list)

    def percentile(self, share: float) -> int:
        return int(np.percentile(self.sizes, 100 * share, method="lower")) if self.sizes else 0

    def histogram(self) -> list[tuple[int, int, int]]:
        """(from, to, documents) in powers of two, the ends included."""
        if not self.sizes:
            return []
        top = max(self.sizes).bit_length()
        counts = np.bincount([size.bit_length() for size in self.sizes], minlength=top + 1)
        first = int(np.flatnonzero(counts)[0])
        return [(1 << i >> 1, (1 << i) - 1, int(counts[i])) for i in range(first, top + 1)]


def inspect(
    source: Source,
    tokenizer: Tokenizer,
    *,
    loss_on: LossOn = "answers",
    length: int = 512,
    too_long: TooLong = "drop_oldest_turns",
    limit: int = 10_000,
    show: int = 3,
) -> Inspection:
    """Reads at most ``limit`` rows as training would; raises DataError with file and line where training would."""
    found = Inspection(source.from_, length, [str(file) for file in locate(source).files])
    encoder = Encoder(tokenizer, length=length, too_long=too_long)
    documents = read_documents(source)
    for block in _blocks(itertools.islice(documents, limit)):
        rows = encoder.encode(block, source.loss_on or loss_on, found.cut)
        for document, pieces in zip(block, rows, strict=True):
            _count(found, document, pieces)
            if len(found.shown) < show and pieces:
                found.shown.append(Shown(str(document.place), list(spoken(pieces[0], tokenizer))))
    found.whole = next(documents, None) is None
    return found


def spoken(row: Encoded, tokenizer: Tokenizer) -> Iterator[tuple[str, float]]:
    """Text with weights; tokens that are parts of one character are told as one."""
    decoder = tokenizer.decoder(skip_special=False)
    for token, weight in zip(row.tokens.tolist(), row.weights.tolist(), strict=True):
        if text := decoder.push(token):
            yield text, weight
    if rest := decoder.flush():
        yield rest, float(row.weights[-1])


def _count(found: Inspection, document: Document, pieces: list[Encoded]) -> None:
    found.rows += 1
    found.characters += document.characters if pieces else 0
    for piece in pieces:
        found.tokens += len(piece.tokens)
        found.supervised += int(np.count_nonzero(piece.weights[1:]))
        found.sizes.append(len(piece.tokens))


def _blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while block := list(itertools.islice(documents, CHUNK_ROWS)):
        yield block
