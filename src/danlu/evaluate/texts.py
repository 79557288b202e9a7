"""Texts to measure: whole files, or the rows of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.errors import DataError


def read_texts(paths: Iterable[str | Path]) -> Iterator[str]:
    """Each .jsonl row's ``text`` is a text; any other file is one, as it is.  Raises: DataError with file and line."""
    for path in map(Path, paths):
        text = _whole(path)
        if not text.strip():
            raise DataError("is empty; give a file with text in it", file=path)
        yield from _rows(text, path) if path.suffix == ".jsonl" else (text,)


def _whole(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError("no such file; give a text file", file=path) from None
    except IsADirectoryError:
        raise DataError("is a folder; name the files in it", file=path) from None
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}; save it as UTF-8", file=path) from None


def _rows(text: str, path: Path) -> Iterator[str]:
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw)
        except json.JSONDecodeError as error:
            raise DataError(f"broken JSON ({error.msg})", file=path, line=line) from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise DataError('the column \'text\' is missing; a row is {"text": "…"}', file=path, line=line)
        yield row["text"]
