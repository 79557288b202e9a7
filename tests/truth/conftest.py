"""Scorers that need no model: characters are tokens, and what is likely is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from danlu.core.ports import Score

Row = tuple[Sequence[int], Sequence[int]]


class Characters:
    """One token a character; ``law`` gives the log-probability of a continuation after a context."""

    def __init__(self, law: Callable[[str, str], float], context: int = 100_000, bos: bool = False) -> None:
        self.law, self.context, self.bos = law, context, bos
        self.asked: list[tuple[str, str]] = []

    def encode(self, text: str) -> list[int]:
        return [1] * self.bos + [ord(letter) for letter in text]

    def byte_count(self, ids: Sequence[int]) -> int:
        return len("".join(chr(i) for i in ids if i != 1).encode())

    def score(self, rows: Sequence[Row]) -> list[Score]:
        return [self._one(context, continuation) for context, continuation in rows]

    def _one(self, context: Sequence[int], continuation: Sequence[int]) -> Score:
        assert len(context) >= 1
        assert len(context) + len(continuation) <= self.context
        before, after = ("".join(chr(i) for i in ids if i != 1) for ids in (context, continuation))
        self.asked.append((before, after))
        total = self.law(before, after)
        return Score(tuple(total / len(continuation) for _ in continuation), (False,) * len(continuation))


@pytest.fixture
def characters() -> type[Characters]:
    return Characters


@pytest.fixture
def uniform() -> Callable[[str, str], float]:
    """Every character of 256 is as likely as any other."""
    return lambda context, continuation: -len(continuation) * math.log(256)
