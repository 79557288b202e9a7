"""What a row becomes: a text, or a conversation, with the file and line it came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Place:
    """Where a row stands; ``line`` counts from 1 (rows, for files without lines)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, sentence: str) -> DataError:
        return DataError(sentence, file=self.file, line=self.line)


@dataclass(frozen=True)
class Text:
    """Running text, every token of it trained. A huge document comes in pieces: ``first`` and ``last`` say which."""

    text: str
    place: Place = Place("", 0)
    first: bool = True
    last: bool = True

    def digest(self) -> int:
        """A 64-bit hash of the content alone, so that equal rows fall on the same side of a split."""
        return _digest(self.text)

    @property
    def characters(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class Conversation:
    """Messages ``{"role", "content"}``, with a ``"weight"`` where the data gives one, and the tools on offer."""

    messages: list[dict[str, Any]]
    place: Place = Place("", 0)
    tools: list[Any] = field(default_factory=list)

    def digest(self) -> int:
        content = [self.messages, self.tools] if self.tools else self.messages
        return _digest(json.dumps(content, ensure_ascii=False, sort_keys=True))

    @property
    def characters(self) -> int:
        return sum(len(message["content"]) for message in self.messages)


Document = Text | Conversation


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
