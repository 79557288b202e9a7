"""Plain text: a file is one document."""

from __future__ import annotations

from collections.abc import Iterator

from ..opening import Opened, texts
from ..pieces import pieces, running
from . import READERS, Reader, Row


@READERS.add("txt")
class Txt(Reader):
    """The whole file as one document, in pieces of at most half a million characters.

    Source: RFC 3629, "UTF-8, a transformation format of ISO 10646".
    Truth:  tests/truth/test_data_readers.py (the pieces joined are the file; lines counted by hand).
    """

    sample = b"one\ntwo\n"

    def rows(self, file: Opened) -> Iterator[Row]:
        return running(pieces(texts(file)))
