"""JSON lines."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.errors import DataError
from ..opening import Opened
from . import READERS, ROW_LIMIT, Reader, Row

MARK = b"\xef\xbb\xbf"


@READERS.add("jsonl")
class JsonLines(Reader):
    """One JSON value a line; blank lines are passed over.

    The line is not parsed here (whoever encodes it does, in its own process), so reading costs what the disk costs.
    Raises: DataError for a line above 256 MiB.
    Source: https://jsonlines.org
    Truth:  tests/truth/test_data_readers.py (the same rows from every suffix; line numbers counted by hand).
    """

    sample = b'{"text": "one"}\n{"text": "two"}\n'

    def rows(self, file: Opened) -> Iterator[Row]:
        number = 0
        while line := file.handle.readline(ROW_LIMIT + 1):
            number += 1
            if len(line) > ROW_LIMIT:
                raise DataError(
                    f"a line above {ROW_LIMIT >> 20} MiB; cut it into several rows", file=file.path, line=number
                )
            line = line.removeprefix(MARK).strip() if number == 1 else line.strip()
            if line:
                yield Row(number, line)
