"""One file a way of learning a vocabulary from text."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from ...core.errors import ConfigError
from ...core.registry import Registry


class VocabularyTrainer(ABC):
    """Learns a vocabulary of at most ``vocab`` pieces; ``specials`` get the first ids, in their order.

    Every kind keeps that order: specials, the unknown piece if it has one, bytes if it has them, then what it learned.
    """

    unknown: ClassVar[str | None] = None  # the piece for what the vocabulary cannot spell
    fewest: ClassVar[int] = 1  # pieces beside the special ones that a vocabulary needs

    def __init__(self, vocab: int, specials: tuple[str, ...]) -> None:
        if len(set(specials)) != len(specials) or not all(specials):
            raise ConfigError(f"special tokens must differ and be none of them empty, found {list(specials)}")
        needed = len(specials) + (self.unknown is not None and self.unknown not in specials) + self.fewest
        if vocab < needed:
            raise ConfigError(
                f"vocab must be at least {needed} for this kind with {len(specials)} special tokens, found {vocab}"
            )
        self.vocab, self.specials = vocab, specials

    @abstractmethod
    def learn(self, texts: Iterator[str]) -> Backend:
        """The engine; texts are read once, one at a time."""

    @property
    def first(self) -> list[str]:
        """The pieces that come before everything learned: the special ones and the unknown one."""
        unknown = [self.unknown] if self.unknown is not None and self.unknown not in self.specials else []
        return [*self.specials, *unknown]

    def mark(self, engine: Backend) -> Backend:
        """Declares the first pieces special."""
        engine.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in self.first])
        return engine


TRAINERS: Registry[type[VocabularyTrainer]] = Registry("tokenizer trainer", VocabularyTrainer, __name__)


def watched() -> bool:
    """Whether somebody sees a progress bar."""
    return sys.stderr.isatty()
