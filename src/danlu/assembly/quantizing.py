"""Model directories in fewer bits: what was in a directory, and what is in the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import models
from ..core.errors import ConfigError
from ..core.files import expect_room
from ..core.spec import Spec, settings_of
from ..models.hub import located
from ..models.quantized import held_as
from ..models.tensors import tensors_of
from ..models.weights import kept
from ..nn.model import Model
from ..nn.storages import STORAGES, PublishedStorage
from .loading import adapter_folder
from .writing import save

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

Judge = Callable[[Model, "Tokenizer | None"], float]

GROUPED = ("group", "block")
"""What storages call the number of weights that share a constant."""


@dataclass(frozen=True)
class Side:
    """A directory: bytes of its weights, and what a judge said of its model; None where there was none."""

    bytes_: int
    figure: float | None


@dataclass(frozen=True)
class Quantized:
    """A directory before and after. ``bits`` a weight of the ``maps`` linear maps that are kept in fewer."""

    before: Side
    after: Side
    bits: float
    maps: int


def methods() -> list[str]:
    """The storages that directories can be written in."""
    return [name for name in STORAGES if issubclass(STORAGES[name], PublishedStorage)]


def way(method: str, group: int | None = None) -> Spec:
    """The storage of a method; ``group`` weights share a constant, or as many as it says itself.

    Raises: ConfigError if it is none that directories can be written in, or has no groups.
    """
    if method not in methods():
        raise ConfigError(f"--method {method}: a directory is written in one of {', '.join(methods())}")
    named = [key for key in GROUPED if key in settings_of(STORAGES[method])]
    if group is not None and not named:
        raise ConfigError(f"--group: {method} keeps one scale a row; strike --group")
    return Spec(method, {} if group is None else {named[0]: group})


def quantize(
    path: str | Path,
    out: str | Path,
    storage: Spec,
    *,
    dtype: torch.dtype | None = None,
    judge: Judge | None = None,
    overwrite: bool = False,
) -> Quantized:
    """Writes a model's directory with the linear maps of its blocks kept in a storage.

    Weights are quantized one by one as they are read. ``dtype`` is that of all other numbers, as they are stored unless
    given. ``judge`` says how good a model is, before and after.
    Raises: ConfigError for an adapter, a model that is quantized already, or rows that groups do not divide;
    CheckpointError for what cannot be read, or where ``out`` holds something.
    """
    expect_room(out, overwrite=overwrite)
    if adapter_folder(path) is not None:
        raise ConfigError(f"{path}: is an adapter, which is kept as it is; merge it first (danlu merge), then quantize")
    folder = located(path)
    if held := held_as(folder):
        raise ConfigError(
            f"{folder}: its weights are kept as {STORAGES.name_of(held)} already, and would be rounded twice; take the "
            "directory that was not quantized"
        )
    before = Side(bytes_of(folder), None if judge is None else judge(*models.load(folder, dtype=dtype)))
    model, tokenizer = models.load(folder, dtype=dtype, storage=storage.build(STORAGES, where="--method"))
    figure = None if judge is None else judge(model, tokenizer)
    save(model, tokenizer, out, overwrite=overwrite)
    maps = list(kept(model).values())
    bits = (
        8
        * sum(t.nbytes for m in maps for t in m.tensors().values())
        / sum(m.in_features * m.out_features for m in maps)
    )
    return Quantized(before, Side(bytes_of(Path(out)), figure), bits, len(maps))


def bytes_of(folder: Path) -> int:
    """What the files of weights take."""
    return sum(file.stat().st_size for file in set(tensors_of(folder).values()))
