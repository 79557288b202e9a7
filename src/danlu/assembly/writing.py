"""Models with adapters to folders, and back into a model that has the same ones attached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from .. import models
from ..core.errors import ConfigError
from ..core.files import new_folder, write_json
from ..models.writing import SHARD
from ..nn.model import Model
from ..peft.attached import Attached, restore_state, state_of
from ..peft.members import OWN, STATE
from . import foreign
from .folder import relative, tensors_in

if TYPE_CHECKING:
    from ..tokenize import Tokenizer


def save(
    model: Model,
    tokenizer: Tokenizer | None,
    path: str | Path,
    *,
    overwrite: bool = False,
    max_bytes: int = SHARD,
) -> Path:
    """Writes a model directory, or of a model whose adapter acts the adapter's folder, whole or not at all.

    A folder of an adapter holds no weights of the base; ``danlu.load`` opens both again, and ``assembly.merge`` makes
    one model of them. Adapters that rest are not written, which the log says.
    Raises: CheckpointError if the directory holds something already (unless ``overwrite``), ConfigError if the
    model's family cannot express it, or if several adapters act.
    """
    name = acting(model)
    if resting := [one for one in (model.switch.adapters if model.switch else ()) if one != name]:
        logging.getLogger("danlu").warning(
            "%s: the adapters %s rest and are not written here; activate each and save it to a folder of its own",
            path, resting,
        )  # fmt: skip
    with new_folder(path, overwrite=overwrite) as draft:
        write_into(model, tokenizer, draft, max_bytes=max_bytes)
    return Path(path)


def write_into(model: Model, tokenizer: Tokenizer | None, folder: Path, *, max_bytes: int = SHARD) -> None:
    """A model directory; of a model whose adapter acts, the adapter's folder instead.

    An adapter's folder holds PEFT's files where PEFT knows the method, and under danlu/ every number that training
    needs to go on. A method that moves weights of the base leaves the model directory beside it.
    """
    name = acting(model)
    if name is None:
        models.write_into(model, tokenizer, folder, max_bytes=max_bytes)
        return
    if attached_as(model, name).adapter.changes_base:
        models.write_into(model, tokenizer, folder, max_bytes=max_bytes)
    elif tokenizer is not None:
        tokenizer.save(folder)
    write_adapter(model, name, folder)


def write_adapter(model: Model, name: str, folder: Path) -> None:
    """One of the adapters of a model, into a folder that exists."""
    attached = attached_as(model, name)
    base = attached.base
    (folder / "danlu").mkdir(exist_ok=True)
    place = base and {"path": base.path, "beside": relative(base.path, folder), "fingerprint": base.fingerprint}
    said = {"adapter": attached.spec.write(), "trains": attached.trains, "base": place}
    write_json(folder / OWN, said)
    save_file({key: value.contiguous() for key, value in state_of(model, name).items()}, folder / STATE)
    foreign.write(model, name, attached, folder)


def read_into(model: Model, folder: Path) -> None:
    """Fills a model, or the adapter that acts on it, from what ``write_into`` left."""
    name = acting(model)
    if name is None or attached_as(model, name).adapter.changes_base:
        models.read_into(model, folder)
    if name is not None:
        restore_state(model, name, tensors_in(folder / STATE), str(folder / STATE))


def acting(model: Model) -> str | None:
    """The adapter that acts, None without one; raises ConfigError for several, which have no folder together."""
    active = model.switch.active if model.switch else ()
    if len(active) > 1:
        raise ConfigError(f"the adapters {list(active)} act together; activate one of them to save it")
    return active[0] if active else None


def attached_as(model: Model, name: str) -> Attached:
    assert model.switch is not None
    return model.switch.adapters[name]
