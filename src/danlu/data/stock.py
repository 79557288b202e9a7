"""What training or evaluation draws from: documents of several sources, their shares, and how they become rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.rng import derive
from .packing import Plan, plan
from .recipe import Pack
from .store import Documents

if TYPE_CHECKING:
    from .rows import Rows


@dataclass(frozen=True)
class Part:
    """One source's documents and its share of the tokens; None is by its size."""

    name: str
    documents: Documents
    share: float | None = None


@dataclass(frozen=True)
class Stock:
    """Documents on disk, not in memory; ``rows`` of ``pack.length`` are an epoch."""

    parts: list[Part]
    pack: Pack
    vocab: int
    pad: int = 0
    seed: int = 0
    quiet: bool = field(default=True, compare=False)

    @cached_property
    def digest(self) -> str:
        """Of the tokens, shares and shape: equal stocks give equal streams on every machine."""
        parts = [f"{part.documents.digest} {part.share}" for part in self.parts]
        return hashlib.sha256("\n".join([*parts, self.pack.rows, str(self.seed)]).encode()).hexdigest()

    @property
    def documents(self) -> int:
        return sum(len(part.documents) for part in self.parts)

    @property
    def tokens(self) -> int:
        """Tokens of all documents, before packing."""
        return sum(part.documents.tokens for part in self.parts)

    @cached_property
    def rows(self) -> int:
        """How many rows of ``pack.length`` hold every document once: what ``once`` yields, and an epoch of training."""
        return self.rows_at(self.pack.length)

    def rows_at(self, length: int) -> int:
        if self.pack.rows == "windows":
            return sum(-(-max(0, part.documents.tokens - 1) // length) for part in self.parts)
        return sum(len(self.plan(part, length)) for part in self.parts)

    def __bool__(self) -> bool:
        return self.tokens > 0

    def plan(self, part: Part, length: int) -> Plan:
        return plan(part.documents, length, self.seed, self.quiet)

    def sources(self, length: int) -> list[tuple[float, Rows]]:
        """Rows with the share each kind of them has: one group for all sources unless shares are given."""
        from .rows import Joined, Packed, Windows

        made: list[tuple[Part, Rows]] = []
        for number, part in enumerate(part for part in self.parts if part.documents.tokens > 1):
            if self.pack.rows == "windows":
                made.append((part, Windows(part.documents, length, derive(self.seed, "source", number))))
            else:
                made.append((part, Packed(part.documents, self.plan(part, length))))
        if any(part.share is None for part, _ in made):
            return [(1.0, Joined([rows for _, rows in made]))]
        return [(part.share or 1.0, rows) for part, rows in made]

    def facts(self) -> dict[str, Any]:
        """Counts for the report."""
        slots = self.rows * self.pack.length
        predictions = (
            self.tokens - self.documents if self.pack.rows == "packed" else max(0, self.tokens - len(self.parts))
        )
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "rows": self.rows,
            "length": self.pack.length,
            "fill": round(predictions / slots, 4) if slots else 0.0,
        }
