"""A row as if it had gone on already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .rows import Row


class Ahead:
    """Stands for a row while guesses are made or judged; the row itself does not change, but its generator is used."""

    def __init__(self, row: Row) -> None:
        self.prompt: Sequence[int] = row.prompt
        self.random: Any = row.random
        self.tokens = list(row.tokens)
        matcher = getattr(row, "matcher", None)
        self.matcher = None if matcher is None else matcher.fork()

    def go_on(self, token: int) -> None:
        """One more token."""
        self.tokens.append(token)
        if self.matcher is not None:
            self.matcher.take(token)

    @property
    def over(self) -> bool:
        """Whether its grammar has come to its end."""
        return self.matcher is not None and self.matcher.over
