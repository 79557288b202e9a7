"""Folders to models: a model directory, or an adapter's folder and the base it belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models
from ..core.errors import CheckpointError
from ..core.spec import Spec
from ..models.hub import located
from ..nn.model import Model
from ..nn.storages import STORAGES, Storage
from ..peft.attached import Attached, Base, activate, attach, detach, restore_state
from ..peft.formats import Opened
from ..peft.members import OWN, STATE
from . import foreign
from .folder import PEFT, PEFT_STATE, check, described, found, holds_adapter, tensors_in

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
        return models.load(path, storage=_read(storage), **settings)
    origin = base_of(folder, base)
    if not any_base:
        check(origin, folder)
    model, tokenizer = models.load(origin.path, storage=_read(storage), **settings)
    attach_folder(model, folder, base=origin)
    return model.eval(), models.tokenizer_of(folder) or tokenizer


def load_with(
    path: str | Path, adapters: Sequence[str], *, base: str | None = None, any_base: bool = False, **settings: Any
) -> tuple[Model, Tokenizer | None, list[str]]:
    """``load``, and more adapters on the same model, each FOLDER or NAME=FOLDER; the first of them acts.

    The last answer are the names of all adapters, which ``peft.attached.activate`` switches.
    Raises: CheckpointError for an adapter of another base, unless ``any_base``.
    """
    model, tokenizer = load(path, base=base, any_base=any_base, **settings)
    own = adapter_folder(path)
    here = base_of(own, base).path if own else str(path)
    names = list(model.switch.adapters) if model.switch else []
    for given in adapters:
        name, _, said = given.rpartition("=")
        folder = _holding(said)
        if not any_base:
            check(Base(here, (described(folder).get("base") or {}).get("fingerprint", "")), folder)
        names.append(name or _name(folder))
        attach_folder(model, folder, names[-1])
    if adapters:
        activate(model, names[-len(adapters)])
    return model.eval(), tokenizer, names


def adapter_folder(path: str | Path) -> Path | None:
    """The folder of an adapter that a path means (itself, or the final/ of a run); None for a model."""
    for place in (Path(path), Path(path) / "final"):
        if holds_adapter(place):
            return place
    return None


def attach_folder(model: Model, folder: str | Path, name: str = "default", *, base: Base | None = None) -> Attached:
    """Attaches the adapter of a folder, danlu's or PEFT's, to a model, under a name; it acts from now on.

    Raises: CheckpointError if the folder holds none, or one whose shapes are not this model's.
    """
    opened, where = _opened(_holding(folder), model)
    attached = attach(model, opened.spec, name, also=opened.also, base=base)
    try:
        restore_state(model, name, opened.state, where)
    except CheckpointError:
        detach(model, name)
        raise
    model.requires_grad_(False)
    return attached


def _holding(path: str | Path) -> Path:
    """The folder of an adapter; raises CheckpointError if there is none."""
    if (place := adapter_folder(path)) is None:
        what = "holds no adapter" if Path(path).exists() else "does not exist"
        raise CheckpointError(f"{path}: {what} ({OWN} or {PEFT}); give the folder of a run with an adapter, or PEFT's")
    return place


def _name(folder: Path) -> str:
    """What an adapter is called by its folder: that of the run where it is the run's final one."""
    whole = folder.resolve()
    return re.sub(r"[^\w-]", "-", whole.parent.name if whole.name == "final" else whole.name)


def _opened(folder: Path, model: Model) -> tuple[Opened, str]:
    """What danlu wrote, else what PEFT did, and the file of the tensors."""
    if said := described(folder):
        state = tensors_in(folder / STATE)
        return Opened(Spec.read(said["adapter"]), state, said["trains"]), str(folder / STATE)
    return foreign.read(folder, model), str(folder / PEFT_STATE)


def base_of(folder: Path, base: str | None) -> Base:
    """The base of an adapter where it lies now; raises CheckpointError with the remedy if it is not there."""
    if base:
        own = described(folder).get("base") or {}
        return Base(str(located(base)), own.get("fingerprint", ""))
    named = found(folder)
    try:
        located(named.path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: the base of this adapter cannot be opened ({error}); say where it lies with base= (--base DIR)"
        ) from None
    return named


def _read(storage: Spec | str | None) -> Storage | None:
    return None if storage is None else Spec.read(storage).build(STORAGES, where="storage")
