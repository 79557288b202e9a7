"""Text of ids that come one by one: whole characters only."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class Decoder:
    """``push`` gives the text that is certain after each id; ``flush`` what is left at the end.

    Bytes of a character are held back until all are there, so the pieces joined are ``decode`` of all ids.
    """

    def __init__(self, spoken: Callable[[int, bool], bytes], silent: frozenset[int]) -> None:
        """spoken: the bytes an id adds, given whether it is the first; silent: ids that add nothing."""
        self._spoken, self._silent = spoken, silent
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._first = True

    def push(self, token: int) -> str:
        if token in self._silent:
            return ""
        spoken = self._spoken(token, self._first)
        self._first = False
        return self._utf8.decode(spoken)

    def flush(self) -> str:
        """What was held back; an unfinished character becomes the replacement character. The decoder starts anew."""
        rest = self._utf8.decode(b"", final=True)
        self._first = True
        return rest
