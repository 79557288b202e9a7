"""Files that are either whole or not there: atomic writes, hashes, manifests, JSON with an address."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import CheckpointError, DanluError

MANIFEST = "manifest.json"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; renames it over ``path`` after fsync if the body succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        sync(draft)
        os.replace(draft, path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``; renames it to ``path`` (which must not exist) if the body succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        for file in draft.rglob("*"):
            sync(file)
        os.rename(draft, path)
        sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def expect_room(path: str | Path, *, overwrite: bool) -> bool:
    """Whether a path holds something; raises CheckpointError if it does and ``overwrite`` is not said."""
    path = Path(path)
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise CheckpointError(f"{path}: exists already; choose another directory, or say overwrite=True (--overwrite)")
    return taken


@contextmanager
def new_folder(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """``atomic_folder`` for a path that may hold something, which stays until the new one is whole.

    Raises: CheckpointError if it holds something, unless ``overwrite``.
    """
    path = Path(path)
    taken = expect_room(path, overwrite=overwrite)
    new, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    with atomic_folder(new if taken else path) as draft:
        yield draft
    if taken:
        os.rename(path, old)
        os.rename(new, path)
        shutil.rmtree(old) if old.is_dir() else old.unlink()


def remove_drafts(folder: str | Path) -> list[str]:
    """Removes the temporary files and folders that killed writers left in ``folder``; returns their names."""
    drafts = sorted(Path(folder).glob(".*.tmp"))
    for draft in drafts:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
    return [draft.name for draft in drafts]


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | Path, what: str = "a JSON file") -> Any:
    """The value; raises DanluError with file and line if it is absent or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DanluError(f"{path}: no such file; {what} is expected there") from None
    except UnicodeDecodeError as error:
        raise DanluError(f"{path}: not UTF-8 at byte {error.start}; {what} must be UTF-8") from None
    except json.JSONDecodeError as error:
        raise DanluError(f"{path}:{error.lineno}: broken JSON ({error.msg}); repair or restore {what}") from None


def sha256(path: str | Path) -> str:
    """The hex digest of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def seal(folder: str | Path) -> None:
    """Writes the manifest of every file below ``folder``: size and SHA-256. To be called last."""
    folder = Path(folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    files = {n: {"bytes": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in names}
    write_json(folder / MANIFEST, {"files": files})


def verify(folder: str | Path) -> None:
    """Raises CheckpointError naming the first file that is missing, cut or changed since ``seal``."""
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: has no {MANIFEST}, so it was not written to its end; use the one before it")
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{folder / MANIFEST}: is damaged; use the checkpoint before it") from None
    for name, facts in files.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file}: is missing though the manifest lists it; use the checkpoint before it")
        if (size := file.stat().st_size) != facts["bytes"]:
            raise CheckpointError(f"{file}: has {size} bytes, the manifest {facts['bytes']}; it was cut or changed")
        if sha256(file) != facts["sha256"]:
            raise CheckpointError(f"{file}: its SHA-256 differs from the manifest; its bytes were changed on disk")
