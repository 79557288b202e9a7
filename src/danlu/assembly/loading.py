"""Folders to models: a model directory, or an adapter's folder and the base it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from .. import models
from ..core.errors import CheckpointError
from ..core.spec import Spec
from ..models.hub import located
from ..nn.model import Model
from ..nn.storages import STORAGES, store
from ..peft.attached import Attached, Base, attach, restore_state
from .folder import OWN, STATE, check, described, found, holds_adapter

if TYPE_CHECKING:
    from ..tokenize import Tokenizer


def load(
    path: str | Path,
    *,
    base: str | None = None,
    any_base: bool = False,
    storage: Spec | str | None = None,
    **settings: Any,
) -> tuple[Model, Tokenizer | None]:
    """The model and tokenizer of a model directory, a run, a hub id, or an adapter's folder with its base.

    ``base`` replaces the one that the adapter names, and must be the same weights unless ``any_base``; ``storage``
    keeps the frozen linear maps of blocks, as in a recipe; other settings are those of ``models.load``.
    Raises: CheckpointError for what is missing, damaged, unsafe, unknown, or of another base.
    """
    folder = adapter_folder(path)
    if folder is None:
        model, tokenizer = models.load(path, **settings)
        return _stored(model, storage), tokenizer
    origin = _base_of(folder, base)
    if not any_base:
        check(origin, folder)
    model, tokenizer = models.load(origin.path, **settings)
    attach_folder(_stored(model, storage), folder, base=origin)
    return model.eval(), models.tokenizer_of(folder) or tokenizer


def adapter_folder(path: str | Path) -> Path | None:
    """The folder of an adapter that a path means (itself, or the final/ of a run); None for a model."""
    for place in (Path(path), Path(path) / "final"):
        if holds_adapter(place):
            return place
    return None


def attach_folder(model: Model, folder: str | Path, name: str = "default", *, base: Base | None = None) -> Attached:
    """Attaches the adapter of a folder to a model, under a name; it acts from now on.

    Raises: CheckpointError if the folder holds none, or one whose shapes are not this model's.
    """
    folder = Path(folder)
    said = described(folder)
    if not said:
        raise CheckpointError(f"{folder}: holds no adapter of danlu ({OWN})")
    attached = attach(model, Spec.read(said["adapter"]), name, also=said["trains"], base=base)
    restore_state(model, name, load_file(folder / STATE), str(folder / STATE))
    model.requires_grad_(False)
    return attached


def _base_of(folder: Path, base: str | None) -> Base:
    named = found(folder)
    return replace(named, path=str(located(base))) if base else named


def _stored(model: Model, storage: Spec | str | None) -> Model:
    if storage is not None:
        store(model, Spec.read(storage).build(STORAGES, where="storage"))
    return model
