"""One answer on its way to a client: tokens become text that can be shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .request import Told
from .stops import Tail


class Spoken(Protocol):
    """Tokens to text, never half a character."""

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


@dataclass(eq=False)
class Line:
    """The text of one row: ``stops`` are the ids it ends at, ``limit`` the most tokens it may have."""

    text: Spoken
    tail: Tail
    stops: frozenset[int]
    limit: int
    told: list[Told] = field(default_factory=list)
    finish: str | None = None
    stop: str | int | None = None

    def take(self, token: Told) -> str:
        """One more token; the text that can now be shown."""
        self.told.append(token)
        if token.id in self.stops:
            self.stop = token.id
            return self.end("stop")
        shown = self.tail.push(self.text.push(token.id))
        if self.tail.stopped:
            self.finish, self.stop = "stop", self.tail.found
        elif len(self.told) >= self.limit:
            shown += self.end("length")
        return shown

    def end(self, why: str) -> str:
        """No more comes; the rest of the text."""
        shown = self.tail.push(self.text.flush()) + self.tail.flush()
        self.finish = why
        if self.tail.stopped:
            self.finish, self.stop = "stop", self.tail.found
        return shown
