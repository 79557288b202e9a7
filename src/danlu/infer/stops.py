"""Text as it is decided: never half a character, never part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence


class Tail:
    """Lets text through but for what may yet become a stop string; ends before the first stop string that completes.

    If several complete at the same character, the text ends before the longest. What is let through in all does not
    depend on how the text was cut into pieces. ``found`` is the string it ended before.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.text, self.held, self.stopped = "", "", False
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """What of the text so far can be shown now, and was not before."""
        if self.stopped:
            return ""
        self.held += piece
        if (completed := self._completed()) is not None:
            begin, self.found = completed
            self.stopped = True
            return self._let(begin)
        return self._let(len(self.held) - self._risk())

    def flush(self) -> str:
        """The rest, when nothing more will come."""
        return "" if self.stopped else self._let(len(self.held))

    def _completed(self) -> tuple[int, str] | None:
        """Where the stop string begins that completes first in what is held, and the string."""
        ends = [(at + len(stop), at, stop) for stop in self.stops if (at := self.held.find(stop)) >= 0]
        return min(ends)[1:] if ends else None

    def _risk(self) -> int:
        """The length of the longest end of what is held with which some stop string begins."""
        sizes = range(min(len(self.held), max(map(len, self.stops), default=1) - 1), 0, -1)
        return next((n for n in sizes if any(stop.startswith(self.held[-n:]) for stop in self.stops)), 0)

    def _let(self, size: int) -> str:
        shown, self.held = self.held[:size], self.held[size:]
        self.text += shown
        if self.stopped:
            self.held = ""
        return shown
