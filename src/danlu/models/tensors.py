"""The tensors of a directory: safetensors in one file or in shards, never pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError
from ..core.files import read_json

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def tensors_of(folder: Path) -> dict[str, Path]:
    """Every tensor's name and the file that holds it; raises CheckpointError if there are none, or only pickles."""
    if (folder / INDEX).is_file():
        return _sharded(folder)
    if (folder / ONE).is_file():
        with opened(folder / ONE) as handle:
            return dict.fromkeys(names_in(handle), folder / ONE)
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if pickled:
        raise CheckpointError(
            f"{folder / pickled[0]}: is a pickle, which runs code when opened, so danlu never reads it; where you "
            "trust it, convert it to safetensors with transformers: AutoModelForCausalLM.from_pretrained(old)"
            ".save_pretrained(new)"
        )
    raise CheckpointError(f"{folder}: holds no weights; {ONE} or {INDEX} is expected there")


def _sharded(folder: Path) -> dict[str, Path]:
    index = read_json(folder / INDEX, "the index of the weights")
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{folder / INDEX}: has no weight_map; restore the file from its source")
    for name in sorted(set(map(str, files.values()))):
        if Path(name).name != name:
            raise CheckpointError(f"{folder / INDEX}: names the file {name!r} outside its folder; do not trust it")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: is missing though {INDEX} lists it; fetch the shard again")
    return {tensor: folder / name for tensor, name in files.items()}


@contextmanager
def opened(file: Path, device: str = "cpu") -> Iterator[Any]:
    """A safetensors file; raises CheckpointError if it is cut or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device=device) as handle:
            yield handle
    except SafetensorError as error:
        raise CheckpointError(f"{file}: is cut or damaged ({error}); fetch or restore the file") from None


def names_in(handle: Any) -> list[str]:
    """The names of the tensors of an open file."""
    return list(handle.keys())


def natural(name: str) -> list[object]:
    """A sort key by which layer 10 comes after layer 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def write_index(folder: Path, files: dict[str, str], total: int) -> None:
    """The index of shards: tensor → file."""
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": files}, indent=2)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")
