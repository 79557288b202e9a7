"""What every reader promises, whichever it is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from danlu.core.errors import DataError
from danlu.data.documents import Place
from danlu.data.opening import opened
from danlu.data.readers import READERS
from danlu.data.reading import rows_of, value_of


def sample(name: str) -> bytes:
    """Two rows, or one text, as the reader itself shows them; a binary kind is written by its own library."""
    if READERS[name].sample:
        return READERS[name].sample
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": ["one", "two"]}), sink)
    return sink.getvalue()


def read(path: Path) -> list[object]:
    with opened(path) as file:
        return [value_of(row, Place(str(path), row.line)) for row in rows_of(file)]


@pytest.mark.parametrize("name", list(READERS))
def test_reads_its_sample(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(sample(name))
    values = read(path)
    assert values
    assert all(isinstance(value, str) or set(value) == {"text"} for value in values)


@pytest.mark.parametrize("name", list(READERS))
def test_lines_grow_and_begin_at_one_or_more(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(sample(name))
    with opened(path) as file:
        lines = [row.line for row in rows_of(file)]
    assert lines == sorted(lines)
    assert lines[0] >= 1


@pytest.mark.parametrize("name", list(READERS))
def test_an_empty_file_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"a\.{name}"):
        read(path)


@pytest.mark.parametrize("name", list(READERS))
def test_bytes_that_are_no_text_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(sample(name)[:8] + b"\xff\xfe\x80\x81" + sample(name)[8:])
    with pytest.raises(DataError, match=rf"a\.{name}"):
        read(path)
