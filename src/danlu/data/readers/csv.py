"""Comma-separated values with a header."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator

from ...core.errors import DataError
from ..opening import Opened, lines
from . import READERS, ROW_LIMIT, Reader, Row


@READERS.add("csv")
class Csv(Reader):
    """One record a row, named by the header; quoted fields may hold commas and line breaks; every value is text.

    Raises: DataError for a record with more or fewer fields than the header, or broken quotes.
    Source: RFC 4180, "Common Format and MIME Type for Comma-Separated Values (CSV) Files".
    Truth:  tests/truth/test_data_readers.py (the same rows from every suffix; lines of records with breaks).
    """

    sample = b"text\none\ntwo\n"

    def rows(self, file: Opened) -> Iterator[Row]:
        csv.field_size_limit(ROW_LIMIT)
        records = csv.reader(lines(file), strict=True)
        header, line = None, 1
        try:
            for record in records:
                if header is None:
                    header = record
                elif record:
                    yield Row(line, _row(file, line, header, record))
                line = records.line_num + 1
        except csv.Error as error:
            raise DataError(f"broken CSV ({error}); check the quotes", file=file.path, line=line) from None


def _row(file: Opened, line: int, header: list[str], record: list[str]) -> bytes:
    if len(record) != len(header):
        raise DataError(
            f"{len(record)} fields under a header of {len(header)}; quote fields that hold commas",
            file=file.path,
            line=line,
        )
    return json.dumps(dict(zip(header, record, strict=True)), ensure_ascii=False).encode("utf-8", "surrogatepass")
