"""Every suffix gives the same rows; arrays are streamed; lines are those a person would count."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
import zstandard

from danlu.core.errors import DataError
from danlu.data import opening, read_documents
from danlu.data.documents import Place
from danlu.data.opening import opened
from danlu.data.pieces import pieces
from danlu.data.reading import rows_of, value_of

ROWS = [
    {"text": "one, two"},
    {"text": 'a "quoted" line\nand\ta break'},
    {"text": "床前明月光 🌕"},
    {"text": ""},
    {"text": "back\\slash ] } [ {"},
]


def content(path: Path) -> list[object]:
    with opened(path) as file:
        return [value_of(row, Place(str(path), row.line)) for row in rows_of(file)]


def lines(path: Path) -> list[int]:
    with opened(path) as file:
        return [row.line for row in rows_of(file)]


def written(suffix: str) -> bytes:
    if suffix == "jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    if suffix == "json":
        return json.dumps(ROWS, ensure_ascii=False, indent=1).encode()
    if suffix == "csv":
        sink = io.StringIO()
        table = csv.DictWriter(sink, ["text"])
        table.writeheader()
        table.writerows(ROWS)
        return sink.getvalue().encode()
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    binary = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), binary, row_group_size=2)
    return binary.getvalue()


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_same_rows_from_every_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(written(suffix))
    assert content(path) == ROWS


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_same_rows_compressed(suffix: str, tmp_path: Path) -> None:
    packed = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}
    for name, compress in packed.items():
        path = tmp_path / f"rows.{suffix}.{name}"
        half = len(written(suffix)) // 2  # two frames, as parallel compressors write them
        path.write_bytes(compress(written(suffix)[:half]) + compress(written(suffix)[half:]))
        assert content(path) == ROWS


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_what_json_load_reads_at_any_block_size(
    block: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        *ROWS,
        {"deep": [[1, 2.5e-3, -7], {"a": None, "b": [True, False, "\u00e9\\u00e9"]}]},
        "text",
        12,
        3.25,
        None,
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=indent))
    monkeypatch.setattr(opening, "BLOCK", block)
    assert content(path) == json.loads(path.read_text())


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    assert content(path) == ROWS
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert content(path) == ROWS[:1]


def test_lines_are_counted_as_in_an_editor(tmp_path: Path) -> None:
    array = tmp_path / "a.json"
    array.write_text('[\n  {"text":\n   "1"},\n\n  {"text": "2"}, {"text": "3"}\n]\n')
    assert lines(array) == [2, 5, 5]
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"text": "1"}\n\n  \n{"text": "2"}\n')
    assert lines(rows) == [1, 4]
    table = tmp_path / "a.csv"
    table.write_text('text\n"one\nmore"\n\ntwo\n"3"\n')
    assert lines(table) == [2, 5, 6]


def test_marks_and_foreign_line_ends(tmp_path: Path) -> None:
    for name, text in {"a.jsonl": '{"text": "x"}\r\n', "a.json": '[{"text": "x"}]', "a.csv": "text\r\nx\r\n"}.items():
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert content(path) == [{"text": "x"}], name


def test_a_text_file_is_one_document_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {i} 明月\r\n" + ("\n" if i % 7 == 0 else "") for i in range(60_000))
    path = tmp_path / "book.txt"
    path.write_bytes(text.encode())
    found = list(read_documents(str(path)))
    whole = text.replace("\r\n", "\n")
    assert "".join(d.text for d in found) == whole
    assert [d.first for d in found] == [True] + [False] * (len(found) - 1)
    assert [d.last for d in found] == [False] * (len(found) - 1) + [True]
    assert len(found) > 1
    before = 0
    for document in found:
        assert document.place.line == 1 + whole[:before].count("\n")
        before += len(document.text)


def test_markdown_is_cut_before_headings(tmp_path: Path) -> None:
    text = "".join(f"# Chapter {i}\n\n{'word ' * 2000}\n" for i in range(120))
    path = tmp_path / "book.md"
    path.write_text(text)
    found = [d.text for d in read_documents(str(path))]
    assert "".join(found) == text
    assert len(found) > 1
    assert all(piece.startswith("# Chapter") for piece in found)


@pytest.mark.parametrize("text", ["a" * 1000, "word " * 200, "line\n" * 200, "\n" * 999, "一" * 700 + " " + "二" * 300])
def test_pieces_joined_are_the_text(text: str) -> None:
    found = list(pieces([text[:333], text[333:334], text[334:]], 100))
    assert "".join(found) == text
    assert all(0 < len(piece) <= 100 for piece in found)


def test_pieces_are_cut_between_lines_or_words() -> None:
    assert list(pieces(["aaaa bbbb\ncccc dddd"], 12)) == ["aaaa bbbb\n", "cccc dddd"]
    assert list(pieces(["aaaa bbbb cccc dddd"], 12)) == ["aaaa bbbb", " cccc dddd"]


def test_a_folder_and_a_pattern_name_their_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden.txt", "photo.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert [d.text for d in read_documents(str(tmp_path))] == ["a.txt", "b.txt", "deep/c.txt"]
    assert [d.text for d in read_documents(str(tmp_path / "*.txt"))] == ["a.txt", "b.txt"]
    assert [d.text for d in read_documents(str(tmp_path / "**" / "c.*"))] == ["deep/c.txt"]


def test_parquet_keeps_types_and_numbers_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]} for i in range(1500)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = list(read_documents(str(tmp_path / "rows.parquet")))
    assert [d.messages[0]["content"] for d in found] == [f"q{i}" for i in range(1500)]
    assert found[-1].place.line == 1500


def test_parquet_in_gz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet.gz"
    path.write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(DataError, match="unpack it first"):
        list(read_documents(str(path)))
