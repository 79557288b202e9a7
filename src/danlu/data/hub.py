"""Data files of the Hugging Face hub: ``hf://datasets/owner/name[@revision][/file or pattern]``."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from .opening import suffix_of
from .readers import READERS

ADDRESS = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+|[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?$")


def is_hub(address: str) -> bool:
    return address.startswith("hf://")


def fetch(address: str) -> list[Path]:
    """Local copies of the file, of those a pattern matches, or of every readable file of the data set."""
    found = ADDRESS.match(address)
    if not found:
        raise DataError(f"{address}: write hf://datasets/owner/name/file")
    repo, revision, path = found["repo"], found["revision"], found["path"]
    names = [path] if path and not re.search(r"[*?\[]", path) else _matching(address, repo, revision, path)
    return [_download(address, repo, revision, name) for name in names]


def _matching(address: str, repo: str, revision: str | None, pattern: str | None) -> list[str]:
    import huggingface_hub

    ask = lambda: huggingface_hub.list_repo_files(repo, repo_type="dataset", revision=revision)  # noqa: E731
    every: list[str] = _asked(address, ask)
    readable = sorted(name for name in every if suffix_of(Path(name)) in set(READERS))
    names = [name for name in readable if pattern is None or fnmatch.fnmatch(name, pattern)]
    names = [name for name in names if Path(name).name.lower() != "readme.md"]
    if not names:
        raise DataError(f"{address}: no file there matches; the data set has {list(every)[:10]}")
    return names


def _download(address: str, repo: str, revision: str | None, name: str) -> Path:
    import huggingface_hub

    ask = lambda: huggingface_hub.hf_hub_download(repo, name, repo_type="dataset", revision=revision)  # noqa: E731
    return Path(_asked(address, ask))


def _asked(address: str, ask: Any) -> Any:
    """The hub's answer, its faults as one sentence."""
    try:
        return ask()
    except Exception as error:  # the hub's own errors and those of whichever HTTP library it uses
        first = str(error).strip().split("\n", 1)[0]
        raise DataError(
            f"{address}: cannot be fetched ({first}); check the name, the network or hf auth login"
        ) from None
