"""Text of ids that come one by one: whole characters only."""

from __future__ import annotations

import codecs
from typing import Protocol


class Vocabulary(Protocol):
    """What decoding needs to know of a tokenizer."""

    @property
    def special_ids(self) -> frozenset[int]: ...

    def spoken(self, token: int, first: bool) -> bytes: ...


class Decoder:
    """``push`` gives the text that is certain after each id; ``flush`` what is left at the end.

    Bytes of a character are held back until all are there, so the pieces joined are ``decode`` of all ids.
    """

    def __init__(self, vocabulary: Vocabulary, *, skip_special: bool = True) -> None:
        self._vocabulary, self._skip = vocabulary, skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._first = True

    def push(self, token: int) -> str:
        if self._skip and token in self._vocabulary.special_ids:
            return ""
        spoken = self._vocabulary.spoken(token, self._first)
        self._first = False
        return self._utf8.decode(spoken)

    def flush(self) -> str:
        """What was held back; an unfinished character becomes the replacement character. The decoder starts anew."""
        rest = self._utf8.decode(b"", final=True)
        self._first = True
        return rest
