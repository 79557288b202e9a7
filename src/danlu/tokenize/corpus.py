"""Text for training a tokenizer: files read piece by piece, so memory does not grow with them."""

from __future__ import annotations

import codecs
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import DataError

BLOCK = 1 << 20  # bytes read at once, and about the longest text given on
PLAIN, ROWS = (".txt", ".md"), (".jsonl",)

Corpus = str | Path | Sequence[str | Path] | Iterator[str]


def texts(corpus: Corpus) -> Iterator[str]:
    """The texts of a file, a folder, a list of those, or an iterator of strings, which are texts themselves.

    .txt and .md are cut at line ends near every MiB; of a .jsonl row the field ``text`` is taken, or every text in it.
    Raises: DataError if a file is missing, empty, not UTF-8 or holds broken JSON.
    """
    if isinstance(corpus, Iterator):
        yield from corpus
        return
    files = [file for entry in _listed(corpus) for file in _files(Path(entry))]
    for file in files:
        yield from _rows(file) if file.suffix.lower() in ROWS else _blocks(file)


def nonempty(corpus: Iterable[str], what: str) -> Iterator[str]:
    """The texts that hold something; raises DataError if none does."""
    found = False
    for text in corpus:
        if text:
            found = True
            yield text
    if not found:
        raise DataError(f"{what} holds no text to train on; name .txt, .md or .jsonl files with text in them")


@contextmanager
def spooled(given: Iterable[str]) -> Iterator[Callable[[], Iterator[str]]]:
    """Texts that are read more than once: from a file on the disk, not from memory."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in given)

        def again() -> Iterator[str]:
            file.seek(0)
            return map(json.loads, file)

        yield again


def _listed(corpus: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [corpus] if isinstance(corpus, (str, Path)) else corpus


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file() and f.suffix.lower() in (*PLAIN, *ROWS))
    if not path.is_file():
        raise DataError("no such file; name .txt, .md or .jsonl files, or a folder of them", file=path)
    return [path]


def _blocks(file: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest, at = "", 0
    with open(file, "rb") as handle:
        while raw := handle.read(BLOCK):
            try:
                rest += decoder.decode(raw)
            except UnicodeDecodeError as error:
                place = at + max(0, error.start - (len(error.object) - len(raw)))
                raise DataError(f"not UTF-8 near byte {place}; convert the file to UTF-8", file=file) from None
            at += len(raw)
            cut = _cut(rest)
            if cut:
                yield rest[:cut].replace("\r\n", "\n")
            rest = rest[cut:]
    try:
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise DataError("ends inside a character; the file was cut, fetch it again", file=file) from None
    if rest:
        yield rest.replace("\r\n", "\n")


def _cut(text: str) -> int:
    """Before the last line that begins with something; else before the last space; else, if long, everywhere."""
    end = len(text)
    while (end := text.rfind("\n", 0, end)) >= 0:
        if end + 1 < len(text) and text[end + 1] not in "\r\n":
            return end + 1
    return (text.rfind(" ") if " " in text else len(text)) if len(text) > BLOCK else 0


def _rows(file: Path) -> Iterator[str]:
    with open(file, "rb") as handle:
        for number, raw in enumerate(handle, 1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except UnicodeDecodeError:
                raise DataError("not UTF-8; convert the file to UTF-8", file=file, line=number) from None
            except ValueError as error:
                raise DataError(f"broken JSON ({error}); repair or remove the line", file=file, line=number) from None
            yield from _strings(row["text"] if isinstance(row, dict) and isinstance(row.get("text"), str) else row)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
