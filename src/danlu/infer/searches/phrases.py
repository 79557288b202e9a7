"""How far a text has come with words that must stand in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ...core.errors import ConfigError
from ..checked import whole

Form = tuple[int, ...]
Word = tuple[Form, ...]
"""Its forms, one of which must stand."""


def read(words: Any) -> tuple[Word, ...]:
    """From [5, 6] or [[5, 6], [7]] each; raises ConfigError for what is neither."""
    if not isinstance(words, (list, tuple)) or not words:
        raise ConfigError(f"search.words {words!r}: give a list of words, each a list of token ids")
    return tuple(_word(word, f"search.words.{place}") for place, word in enumerate(words))


def _word(word: Any, where: str) -> Word:
    if not isinstance(word, (list, tuple)) or not word:
        raise ConfigError(f"{where} {word!r}: give the token ids of the word, or a list of its forms")
    forms = word if isinstance(word[0], (list, tuple)) else [word]
    return tuple(_form(form, where) for form in forms)


def _form(form: Any, where: str) -> Form:
    if not isinstance(form, (list, tuple)) or not form:
        raise ConfigError(f"{where} {form!r}: give the token ids of the word")
    return tuple(whole(where, token, 0) for token in form)


def room(word: Word) -> int:
    """The tokens it takes at most."""
    return max(map(len, word))


@dataclass(frozen=True)
class Progress:
    """Words that wait, the one under way with the tokens of it that stand at the text's end, and how many are met.

    A text stands in one word at a time. Where a token breaks a word, the word waits again, and the token may begin any.
    """

    waiting: tuple[Word, ...]
    under: Word = ()
    path: Form = ()
    met: int = 0
    longest: int = 0

    def __post_init__(self) -> None:
        if not self.longest:
            object.__setattr__(self, "longest", max(map(room, self.waiting)))

    @property
    def complete(self) -> bool:
        return not self.waiting and not self.under

    @property
    def bank(self) -> int:
        """How far it is: all tokens of a word count as many as those of the longest."""
        return self.met * self.longest + (self.longest - room(self.under) + len(self.path) if self.under else 0)

    @cached_property
    def wanted(self) -> list[int]:
        """The tokens that bring it further, each once."""
        if self.under:
            at = len(self.path)
            return list(dict.fromkeys(form[at] for form in self.under if form[:at] == self.path))
        return list(dict.fromkeys(form[0] for word in self.waiting for form in word))

    def after(self, token: int) -> Progress:
        """With one more token."""
        if not self.under:
            return self.begun(token)
        path = (*self.path, token)
        if path in self.under:
            return replace(self, under=(), path=(), met=self.met + 1)
        if token in self.wanted:
            return replace(self, path=path)
        return self.waiting_again().begun(token)

    def waiting_again(self) -> Progress:
        """With nothing under way."""
        return replace(self, waiting=(*self.waiting, self.under), under=(), path=())

    def begun(self, token: int) -> Progress:
        """With a token that may be the first of a word that waits."""
        for place, word in enumerate(self.waiting):
            if any(form[0] == token for form in word):
                rest = self.waiting[:place] + self.waiting[place + 1 :]
                if (token,) in word:
                    return replace(self, waiting=rest, met=self.met + 1)
                return replace(self, waiting=rest, under=word, path=(token,))
        return self
