"""Kinds of text the world can tell: one file a kind, each with its training documents and its exercises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ...core.registry import Registry
from ..oracle import Conversation, Exercise
from ..people import World

Document = str | Conversation


class Corpus(ABC):
    """One kind of text about a world. Documents are all texts or all conversations, never both."""

    @abstractmethod
    def training(self, world: World) -> Iterator[Document]:
        """What may be trained: never a question that ``exam`` asks, however it is phrased."""

    @abstractmethod
    def exam(self, world: World) -> Iterator[Exercise]:
        """Exercises about what ``training`` does not ask, each with its oracle."""


CORPORA: Registry[type[Corpus]] = Registry("corpus", Corpus, __name__)


def talk(*turns: str) -> Conversation:
    """Turns of user and assistant in alternation, the user first."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
