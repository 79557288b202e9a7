"""An adapter's folder: what it holds, and of which base it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import CheckpointError
from ..core.files import read_json
from ..models.hub import located
from ..models.tensors import names_in, opened, tensors_of
from ..peft.attached import Base
from ..peft.members import OWN

PEFT, PEFT_STATE = "adapter_config.json", "adapter_model.safetensors"
SAMPLE = 64  # rows of each tensor that a fingerprint reads


def base_at(path: str) -> Base:
    """A model directory as the base of an adapter."""
    return Base(path, fingerprint(located(path)))


def found(folder: Path) -> Base:
    """The base of the adapter in a folder, where it lies now: a path counts from here, or else from the folder.

    A model directory in the folder itself is the base: some methods move weights of it.
    """
    if (folder / "config.json").is_file():
        return Base(str(folder), "")
    own = described(folder)
    said: dict[str, Any] = own.get("base") or {} if own else {"path": settings(folder).get("base_model_name_or_path")}
    if not (path := said.get("path")):
        raise CheckpointError(f"{folder}: the adapter names no base; give it with base= (--base DIR)")
    beside = folder / said.get("beside", path)
    here = str(beside) if beside.exists() and not Path(path).exists() else path
    return Base(here, said.get("fingerprint", ""))


def check(base: Base, adapter: Path) -> None:
    """Raises CheckpointError if the base holds other weights than those the adapter was trained on."""
    if base.fingerprint and fingerprint(located(base.path)) != base.fingerprint:
        raise CheckpointError(
            f"{adapter}: this adapter was trained on other weights than those in {base.path}; give the base it "
            "belongs to, or say any_base=True (--any-base) if you know that it fits"
        )


def holds_adapter(folder: Path) -> bool:
    return (folder / OWN).is_file() or (folder / PEFT).is_file()


def fingerprint(folder: Path) -> str:
    """SHA-256 over the name, dtype, shape and first rows of every tensor of a model directory: seconds for any size."""
    digest = hashlib.sha256()
    files = tensors_of(folder)
    for name in sorted(files):
        with opened(files[name]) as handle:
            part = handle.get_slice(name)
            digest.update(f"{name} {part.get_dtype()} {part.get_shape()}".encode())
            first = part[:SAMPLE] if part.get_shape() else handle.get_tensor(name)
            digest.update(first.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def relative(path: str, folder: Path) -> str:
    """A local path as seen from a folder; a hub id stays as it is."""
    return os.path.relpath(path, folder) if Path(path).exists() else path


def described(folder: Path) -> dict[str, Any]:
    """What danlu wrote about an adapter; {} for a folder of PEFT's."""
    if not (folder / OWN).is_file():
        return {}
    said = read_json(folder / OWN, "the description of an adapter")
    if not isinstance(said, dict) or not said.keys() >= {"adapter", "trains", "base"}:
        raise CheckpointError(
            f"{folder / OWN}: is not whole; take the checkpoint before it, or fetch the adapter again"
        )
    return said


def settings(folder: Path) -> dict[str, Any]:
    """PEFT's adapter_config.json; raises CheckpointError if it holds no settings."""
    raw = read_json(folder / PEFT, "the settings of an adapter")
    if not isinstance(raw, dict) or not raw.get("peft_type"):
        raise CheckpointError(f"{folder / PEFT}: names no peft_type; restore it from the adapter's source")
    return raw


def tensors_in(file: Path) -> dict[str, Tensor]:
    """What a safetensors file of an adapter holds; raises CheckpointError if it is missing or damaged."""
    if not file.is_file():
        raise CheckpointError(f"{file}: is missing; fetch the adapter again, or take the checkpoint before it")
    with opened(file) as handle:
        return {name: handle.get_tensor(name) for name in names_in(handle)}
