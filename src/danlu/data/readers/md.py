"""Markdown: a file is one document, kept as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import pieces
from ..opening import Opened, texts
from . import READERS, Reader, Row

HEADING = re.compile(r"(?<=\n)(?=#{1,6} )")


@READERS.add("md")
class Markdown(Reader):
    """The whole file as one document; a file too long for one piece is cut before a heading where it can be.

    Source: CommonMark 0.31, §4.2 (ATX headings).
    Truth:  tests/truth/test_data_readers.py (the pieces joined are the file; cuts stand before headings).
    """

    sample = b"# One\n\ntwo\n"

    def rows(self, file: Opened) -> Iterator[Row]:
        return pieces.running(pieces.pieces(texts(file), cut=cut))


def cut(text: str, size: int) -> int:
    """Before the last heading of the piece's second half, else where plain text is cut."""
    places = [found.start() for found in HEADING.finditer(text, size // 2, size)]
    return places[-1] if places else pieces.cut(text, size)
