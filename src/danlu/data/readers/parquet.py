"""Apache Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...core.errors import DataError, MissingExtra
from ..opening import COMPRESSIONS, Opened
from . import READERS, Reader, Row

BATCH = 512


@READERS.add("parquet")
class Parquet(Reader):
    """Rows in batches of 512, the line being the row's number; dates and the like become text.

    Raises: DataError if it is no Parquet file or lies in .gz or .zst (it compresses by itself); MissingExtra.
    Source: https://parquet.apache.org/docs/file-format/
    Truth:  tests/truth/test_data_readers.py (the same rows from every suffix).
    """

    sample = b""  # binary: the battery writes one with pyarrow

    def rows(self, file: Opened) -> Iterator[Row]:
        pyarrow, parquet = _library(file)
        if file.path.suffix.lower() in COMPRESSIONS:
            raise DataError("a Parquet file compresses by itself; unpack it first", file=file.path)
        try:
            number = 0
            for batch in parquet.ParquetFile(file.handle).iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield Row(number, _json(file, number, row))
        except (pyarrow.ArrowException, OSError) as error:  # it calls damage an OSError
            raise DataError(f"is no readable Parquet file ({error})", file=file.path) from None


def _json(file: Opened, number: int, row: dict[str, Any]) -> bytes:
    def plain(value: Any) -> str:
        if isinstance(value, (bytes, bytearray)):
            sentence = "holds bytes where text is expected; store text columns as strings"
            raise DataError(sentence, file=file.path, line=number)
        return str(value)

    return json.dumps(row, ensure_ascii=False, default=plain).encode("utf-8", "surrogatepass")


def _library(file: Opened) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", f"{file.path}: reading .parquet") from None
    return pyarrow, pyarrow.parquet
