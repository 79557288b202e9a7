"""Where a model lies: a local directory, or one fetched from the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import CheckpointError

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What is fetched: never a pickle, never code."""


def located(path: str | Path) -> Path:
    """A local directory with a config.json: the given one, the final model of a run, or a snapshot of a hub id."""
    folder = Path(path)
    for place in (folder, folder / "final"):
        if (place / "config.json").is_file():
            return place
    if folder.exists() or not HUB_ID.fullmatch(str(path)):
        what = "has no config.json" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
        raise CheckpointError(f"{path}: {what}; give a model directory, a run folder or a hub id like owner/name")
    return _fetched(str(path), FILES)


def configured(path: str | Path) -> Path:
    """Like ``located`` for who asks only what a model is: of a hub id no weights are fetched."""
    local = Path(path).exists() or not HUB_ID.fullmatch(str(path))
    return located(path) if local else _fetched(str(path), ["config.json"])


def _fetched(name: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except GatedRepoError:
        raise CheckpointError(
            f"{name}: its owner asks you to accept terms on the hub; do so and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{name}: is neither a local directory nor a model on the hub; check the spelling"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{name}: is no local directory and the hub cannot be reached ({type(error).__name__}); go online, or copy "
            "the model directory here and give its path"
        ) from None
