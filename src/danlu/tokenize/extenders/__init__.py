"""One file a kind of vocabulary: how new pieces join it without moving an old one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...core.registry import Registry
from ..tokenizer import Tokenizer


@dataclass(frozen=True)
class Additions:
    """New pieces in the order of their ids, and how the vocabulary makes them.

    pieces: spelled as the vocabulary spells.  made_of: old ids of each, [] where it had none.
    rules: merges (bpe) or scores (unigram) of the pieces, in the form of ``tokenizer.json``; [] where there are none.
    unreached: how many of the pieces no text will ever become.
    """

    pieces: list[str]
    made_of: list[list[int]]
    rules: list[Any]
    unreached: int = 0


class Extender(ABC):
    """Finds new pieces for one kind of vocabulary."""

    @classmethod
    @abstractmethod
    def serves(cls, description: dict[str, Any]) -> bool:
        """Whether a ``tokenizer.json`` is of this kind."""

    @abstractmethod
    def learn(self, base: Tokenizer, texts: Iterator[str], count: int) -> Additions:
        """At most ``count`` pieces from text."""

    @abstractmethod
    def merge(self, base: Tokenizer, pieces: list[tuple[bytes, float]]) -> Additions:
        """The pieces of another vocabulary (bytes and score, best first) that the base does not hold."""

    @abstractmethod
    def write(self, description: dict[str, Any], additions: Additions, first: int) -> None:
        """Puts the additions into a ``tokenizer.json``, their ids from ``first`` on."""


EXTENDERS: Registry[type[Extender]] = Registry("vocabulary extender", Extender, __name__)


def shortened(text: bytes) -> str | None:
    """A piece's bytes as text; None if they are part of a character."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
