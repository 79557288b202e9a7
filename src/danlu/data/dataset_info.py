"""LLaMA-Factory's registry of data sets, read as it is: ``folder/dataset_info.json#name``."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, DataError, unknown
from ..core.files import read_json
from .recipe import Source

FILE = "dataset_info.json"
PREFERENCE = ("ranking", "chosen", "rejected", "kto_tag")
MEDIA = ("images", "videos", "audios")
ALPACA = {"instruction": "prompt", "input": "query", "output": "response", "system": "system", "history": "history"}
SHAREGPT = {"conversations": "messages", "system": "system", "tools": "tools"}


def is_registered(address: str) -> bool:
    return f"{FILE}#" in address or address.endswith(FILE)


def registered(source: Source) -> tuple[Source, str | None]:
    """The source an entry describes, its own settings above the entry's, and a pattern its files must match."""
    file, _, name = source.from_.partition("#")
    entries = read_json(file, "LLaMA-Factory's registry")
    if name not in entries:
        raise unknown("data set", name, list(entries), where=file)
    entry = entries[name]
    _check(entry, f"{file}#{name}")
    form, columns, tags = _shape(entry)
    chosen = Source(
        from_=_place(entry, Path(file), f"{file}#{name}"),
        format=source.format or form,
        columns=source.columns or columns,
        tags=source.tags or tags,
        share=source.share,
        loss_on=source.loss_on,
    )
    return chosen, _pattern(entry)


def _check(entry: dict[str, Any], where: str) -> None:
    columns = entry.get("columns", {})
    if any(entry.get(key) or key in columns for key in PREFERENCE):
        raise DataError(f"{where}: holds preferences, which supervised training cannot read; choose another data set")
    if any(key in columns for key in MEDIA):
        raise DataError(f"{where}: holds pictures, sound or video; only text can be trained on here")


def _place(entry: dict[str, Any], file: Path, where: str) -> str:
    if "file_name" in entry:
        return str(file.parent / entry["file_name"])
    if "hf_hub_url" in entry:
        folder = f"/{entry['folder']}/*" if "folder" in entry else ""
        return f"hf://datasets/{entry['hf_hub_url']}{folder}"
    raise DataError(f"{where}: has neither file_name nor hf_hub_url, and {sorted(entry)} cannot be fetched from here")


def _pattern(entry: dict[str, Any]) -> str | None:
    """Files of the hub carry subset and split in their names."""
    if "hf_hub_url" not in entry:
        return None
    words = [entry[key] for key in ("subset", "split") if entry.get(key) and entry[key] != "default"]
    return f"*{'*'.join(words)}*" if words else None


def matching(files: list[Path], pattern: str | None) -> list[Path]:
    """The files a pattern matches; all of them if none does (a data set of one file names no split)."""
    if pattern is None:
        return files
    return [file for file in files if fnmatch.fnmatch(file.as_posix(), pattern)] or files


def _shape(entry: dict[str, Any]) -> tuple[str, dict[str, str] | None, dict[str, str] | None]:
    """Format, columns and tags in danlu's words; a column that ``columns`` leaves out is not read."""
    form, columns, tags = entry.get("formatting", "alpaca"), entry.get("columns"), entry.get("tags")
    if form == "sharegpt":
        return "sharegpt", _translated(SHAREGPT, columns, ("conversations",)), tags
    if form == "openai":
        own = {"messages": "messages", "tools": "tools"}
        return "messages", _translated(own, columns, ("messages",)), None
    if form != "alpaca":
        raise ConfigError(f"{FILE}: formatting {form!r} is unknown; known are alpaca, sharegpt and openai")
    if columns and "response" not in columns:
        return "text", {"text": columns["prompt"]}, None
    return "alpaca", _translated(ALPACA, columns, ("instruction", "output")), None


def _translated(
    words: dict[str, str], columns: dict[str, str] | None, needed: tuple[str, ...]
) -> dict[str, str] | None:
    if columns is None:
        return None
    return {own: columns.get(theirs, own if own in needed else "") for own, theirs in words.items()}
