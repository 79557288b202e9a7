"""Reads multiple-choice questions from CSV and JSON lines, with the file and line of whatever is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import DataError

CHOICE = re.compile(r"(?:choice|option)?[ _]?([a-j]|\d)", re.IGNORECASE)
SPLIT = re.compile(r"_(dev|val|test|valid|validation|train)$")


@dataclass(frozen=True)
class Question:
    """A question, its choices and the index of the right one; ``subject`` is the row's own or the file's name."""

    text: str
    choices: tuple[str, ...]
    answer: int
    subject: str


def read_questions(path: str | Path) -> list[Question]:
    """Every question of a .csv, .jsonl or .json file.

    Columns, in any case: ``question``; ``choices`` (a list) or ``A`` ``B`` … or ``choice0`` ``choice1`` …; ``answer``
    (a letter, or an index from 0); ``subject`` if the file mixes several. A CSV without a header, as MMLU's own, holds
    question, choices …, answer.  Raises: DataError naming file and line.
    """
    path = Path(path)
    rows = _rows(path)
    questions = [_question(row, path, line) for line, row in rows]
    if not questions:
        raise DataError("holds no question; give a file with one question a row", file=path)
    return questions


def subject_of(path: str | Path) -> str:
    """The subject a file is named after: ``astronomy_test.csv`` asks about ``astronomy``."""
    return SPLIT.sub("", Path(path).stem)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _text(path)
    if path.suffix == ".csv":
        return _csv_rows(text, path)
    if path.suffix in (".jsonl", ".json"):
        return _json_rows(text, path)
    raise DataError(f"questions are read from .csv, .jsonl and .json files, not {path.suffix or 'this'}", file=path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("no such file; give a CSV or JSON lines file of questions", file=path) from None
    except IsADirectoryError:
        raise DataError("is a folder; name the files in it", file=path) from None
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}; save it as UTF-8", file=path) from None


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    begun = 1
    try:
        for cells in reader:
            line, begun = begun, reader.line_num + 1
            if not any(cells):
                continue
            if names is None:
                names = cells if "question" in map(str.lower, cells) else _headless(cells, path, line)
                if names is cells:
                    continue
            if len(cells) != len(names):
                raise DataError(f"{len(cells)} columns where the first row has {len(names)}", file=path, line=line)
            yield line, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise DataError(
            f"broken CSV ({error}); quote cells that hold commas or quotes", file=path, line=begun
        ) from None


def _headless(cells: list[str], path: Path, line: int) -> list[str]:
    """Names for question, choices, answer by place; only if the last cell can be an answer."""
    letters = "ABCDEFGHIJ"[: len(cells) - 2]
    if cells[-1].strip().upper() not in tuple(letters):
        raise DataError(
            f"no column 'question' in {cells[:6]}; name the columns question, A, B, C, D, answer", file=path, line=line
        )
    return ["question", *letters, "answer"]


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of objects, or one array of them (whose rows are then counted, not its lines)."""
    lines = [(line, raw) for line, raw in enumerate(text.split("\n"), 1) if raw.strip()]
    whole = text.lstrip().startswith("[")
    for line, row in enumerate(_parse(text, path, 1), 1) if whole else ((n, _parse(raw, path, n)) for n, raw in lines):
        if not isinstance(row, dict):
            raise DataError(f"expected an object of question, choices, answer, found {row!r:.40}", file=path, line=line)
        yield line, row


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error.msg})", file=path, line=line + error.lineno - 1) from None


def _question(row: dict[str, Any], path: Path, line: int) -> Question:
    cells = {str(name).strip().lower(): value for name, value in row.items()}
    for name in ("question", "answer"):
        if cells.get(name) in (None, ""):
            raise DataError(f"the column {name!r} is missing or empty; there are {sorted(cells)}", file=path, line=line)
    choices = _choices(cells)
    if len(choices) < 2:
        raise DataError(
            f"fewer than two choices in columns {sorted(cells)}; name them A, B, C, D or give a list 'choices'",
            file=path, line=line,
        )  # fmt: skip
    answer = _answer(str(cells["answer"]).strip(), len(choices), path, line)
    return Question(str(cells["question"]), choices, answer, str(cells.get("subject") or subject_of(path)))


def _choices(cells: dict[str, Any]) -> tuple[str, ...]:
    if isinstance(cells.get("choices"), list):
        return tuple(map(str, cells["choices"]))
    named = {match[1]: str(value) for name, value in cells.items() if (match := CHOICE.fullmatch(name)) and name}
    return tuple(named[key] for key in sorted(named))


def _answer(raw: str, choices: int, path: Path, line: int) -> int:
    index = int(raw) if raw.isdecimal() else "ABCDEFGHIJ".find(raw.upper()) if len(raw) == 1 else -1
    if not 0 <= index < choices:
        last = "ABCDEFGHIJ"[choices - 1]
        raise DataError(
            f"the answer {raw!r} is none of the {choices} choices; write a letter A to {last} or an index from 0",
            file=path, line=line,
        )  # fmt: skip
    return index
