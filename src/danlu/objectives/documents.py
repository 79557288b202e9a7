"""The documents of a batch, taken apart and put together anew, on the host."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.batch import IGNORE, Batch
from ..nn.layout import documents
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Document:
    """The row it stood in, and its text as tokens (n,): without the special tokens that begin and end it."""

    row: int
    text: Tensor


def texts(batch: Batch, vocabulary: Vocabulary, least: int = 1) -> list[Document]:
    """The documents of at least ``least`` tokens of text, in order; the last target of each is its last token."""
    found = []
    for row, start, stop in documents(batch.position, batch.segment) or ():
        last = batch.targets[row, stop - 1 : stop]
        tokens = torch.cat([batch.tokens[row, start:stop], last[last != IGNORE]])
        inside = (~vocabulary.among_special(tokens)).nonzero().flatten().tolist()
        text = tokens[inside[0] : inside[-1] + 1] if inside else tokens[:0]
        if len(text) >= least:
            found.append(Document(row, text))
    return found


class Rows:
    """Rows of pieces, one after the other: named columns of equal lengths, each piece a segment of its own.

    ``fills`` names the columns beside segment and position, with what stands where a row is filled up at its end.
    """

    def __init__(self, count: int, **fills: float) -> None:
        self.rows: list[list[dict[str, Tensor]]] = [[] for _ in range(count)]
        self.fills = {"segment": 0, "position": 0, **fills}

    def add(self, row: int, *, tokens: Tensor, **columns: Tensor) -> None:
        """A piece at the end of a row; its positions count from 0 unless given.  (n,) each."""
        number = len(self.rows[row]) + 1
        made = {"segment": torch.full_like(tokens, number), "position": torch.arange(len(tokens))}
        self.rows[row].append({**made, "tokens": tokens, **columns})

    def columns(self) -> dict[str, Tensor]:
        """(B, T) each, with T at least 1."""
        return {name: self._column(name, fill) for name, fill in self.fills.items()}

    def _column(self, name: str, fill: float) -> Tensor:
        kind = torch.float32 if isinstance(fill, float) else torch.long
        width = max([1, *(sum(len(piece[name]) for piece in row) for row in self.rows)])
        out = torch.full((len(self.rows), width), fill, dtype=kind)
        for number, row in enumerate(self.rows):
            if row:
                joined = torch.cat([piece[name] for piece in row])
                out[number, : len(joined)] = joined
        return out


def below(count: int) -> int:
    """A random whole number in [0, count), from torch's global generator."""
    return int(torch.randint(count, ()))
