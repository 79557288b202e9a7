"""Which files a source means, and in which format they are read."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError
from .dataset_info import FILE, is_registered, matching, registered
from .hub import fetch, is_hub
from .opening import suffix_of
from .readers import READERS
from .recipe import Source


@dataclass(frozen=True)
class Located:
    """The files of a source in order, what of a folder is passed over, and the source with its format resolved."""

    source: Source
    files: list[Path]
    skipped: list[Path]


def locate(source: Source) -> Located:
    """Finds the files; raises DataError with the remedy if there is none that can be read."""
    pattern = None
    if is_registered(source.from_):
        source, pattern = registered(source)
    if is_hub(source.from_):
        return Located(source, matching(fetch(source.from_), pattern), [])
    path = Path(source.from_).expanduser()
    if path.is_dir():
        return _of_folder(source, path)
    if path.exists():
        return Located(source, [_readable(path)], [])
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise DataError("no such file, folder or pattern; check the path", file=source.from_)
    return Located(source, [_readable(file) for file in found], [])


def _of_folder(source: Source, folder: Path) -> Located:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder)))
    known = set(READERS)
    readable = [file for file in files if suffix_of(file) in known and file.name != FILE]
    if not readable:
        raise DataError(f"the folder holds no file that can be read ({_suffixes()})", file=folder)
    return Located(source, readable, [file for file in files if file not in set(readable)])


def _readable(file: Path) -> Path:
    if suffix_of(file) not in set(READERS):
        raise DataError(f"its suffix says no known kind; known are {_suffixes()}", file=file)
    return file


def _suffixes() -> str:
    return ", ".join(f".{name}" for name in READERS) + ", each plain or with .gz or .zst"


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
