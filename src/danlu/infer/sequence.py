"""Requests and their rows as the scheduler sees them: plain Python, no tensor in sight."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

_serial = itertools.count()


class State(Enum):
    """Where a request is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclass(eq=False, slots=True)
class Sequence:
    """One row: what was given, what was chosen, and how much of it has keys in the pool.

    ``computed`` counts the tokens whose keys are there, ``drafts`` are guesses fed behind the last token, ``extra`` is
    how many virtual tokens an adapter puts before the text. ``table`` lists its blocks, None for those it forgot (the
    first ``forgotten``); ``keys`` are those of its full blocks, of which the first ``named`` can be found by others.
    ``cached`` tokens of its prompt came from the prefix cache; the first ``aged`` blocks are old enough to be rounded;
    ``matcher`` is where its grammar is.
    """

    prompt: list[int]
    random: Any = None
    matcher: Any = None
    extra: int = 0
    tokens: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    computed: int = 0
    table: list[int | None] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    named: int = 0
    cached: int = 0
    forgotten: int = 0
    aged: int = 0
    serial: int = field(default_factory=lambda: next(_serial))

    @property
    def known(self) -> int:
        """How many tokens it has, without guesses."""
        return len(self.prompt) + len(self.tokens)

    @property
    def behind(self) -> int:
        """Tokens that still have to be fed, without guesses: one in decoding."""
        return self.known - self.computed

    def ids(self, start: int = 0, stop: int | None = None) -> list[int]:
        """Its tokens, guesses included, from ``start`` to ``stop``."""
        first = len(self.prompt)
        if start >= first:
            return (self.tokens[start - first :] + self.drafts)[: None if stop is None else stop - start]
        return (self.prompt + self.tokens + self.drafts)[start:stop]

    def fork(self) -> Sequence:
        """A copy of its own; blocks are counted by the scheduler."""
        return replace(
            self, tokens=list(self.tokens), drafts=[], table=list(self.table), keys=list(self.keys),
            matcher=self.matcher and self.matcher.fork(), serial=next(_serial),
        )  # fmt: skip

    def slots(self, tokens: int) -> int:
        """How many places in the pool so many of its tokens take."""
        return tokens + self.extra if tokens else 0


@dataclass(eq=False)
class Group:
    """A request on its way: its rows, one at first.

    ``rows_wanted`` is how many it will have side by side, ``root`` where its chain of keys begins (None: what it reads
    may not come from the prefix cache), ``whole`` says that a prompt is read in one piece.
    """

    number: int
    rows: list[Sequence]
    priority: int = 0
    rows_wanted: int = 1
    root: bytes | None = None
    whole: bool = False
    state: State = State.WAITING
    preempted: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Who goes first: the lower priority number, then who came first."""
        return self.priority, self.number
