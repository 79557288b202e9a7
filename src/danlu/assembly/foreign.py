"""Folders as PEFT writes them: adapter_config.json and adapter_model.safetensors, read and written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import CheckpointError, ConfigError, unknown
from ..core.files import write_json
from ..nn.model import Model
from ..nn.sites import Attachment
from ..peft.attached import Attached, sites_of, state_of
from ..peft.formats import FORMATS, Format, Holding, Opened
from ..peft.formats.fields import Fields
from .folder import PEFT, PEFT_STATE, settings, tensors_in
from .published import published

PICKLE = "adapter_model.bin"


def read(folder: Path, model: Model) -> Opened:
    """The adapter of a folder for this model; raises CheckpointError for what cannot be opened or served."""
    raw, where = settings(folder), str(folder / PEFT)
    known = published(model)
    if known is None:
        raise CheckpointError(f"{where}: PEFT has no names for the parts of this model; take an adapter of danlu")
    name = str(raw["peft_type"]).lower()
    if name not in set(FORMATS):
        raise CheckpointError(str(unknown("adapter format", name, list(FORMATS), where=where)))
    format_ = FORMATS[name]()
    fields = Fields(raw, where)
    tensors = {name.removeprefix(format_.prefix): tensor for name, tensor in _tensors(folder).items()}
    opened = format_.read(fields, tensors, known)
    fields.finish()
    return opened


def write(model: Model, name: str, attached: Attached, folder: Path) -> None:
    """PEFT's files beside those of danlu, where PEFT has words for the adapter; says in the log why not."""
    format_, known = _of(attached), published(model)
    if format_ is None or known is None or attached.adapter.changes_base:
        return
    parts = {place: cast(Attachment, site[name]) for place, site in sites_of(model) if name in site}
    held = Holding(state_of(model, name), parts)
    try:
        config, tensors = format_.write(attached.adapter, held, known)
    except ConfigError as error:
        logging.getLogger("danlu").info("%s: written for danlu only: %s", folder, error)
        return
    base = attached.base.path if attached.base else None
    head = {"peft_type": FORMATS.name_of(format_).upper(), "task_type": known.task, "base_model_name_or_path": base}
    write_json(folder / PEFT, {**head, "inference_mode": True, **config})
    named = {format_.prefix + key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    save_file(named, folder / PEFT_STATE, metadata={"format": "pt"})


def _tensors(folder: Path) -> dict[str, Tensor]:
    if not (folder / PEFT_STATE).is_file() and (folder / PICKLE).is_file():
        raise CheckpointError(
            f"{folder / PICKLE}: is a pickle, which runs code when opened, so danlu never reads it; open it with PEFT "
            "where you trust it and save it again: save_pretrained writes adapter_model.safetensors"
        )
    return tensors_in(folder / PEFT_STATE)


def _of(attached: Attached) -> Format | None:
    return next((FORMATS[name]() for name in FORMATS if attached.spec.use in FORMATS[name].methods), None)
