"""A base that is itself an adapter's folder: the same adapter goes on training, on the base it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..assembly.folder import check, described, tensors_in
from ..assembly.loading import adapter_folder, base_of
from ..core.errors import ConfigError
from ..core.files import MANIFEST, verify
from ..core.spec import Spec
from ..nn.model import Model
from ..peft.attached import restore_state
from ..peft.members import STATE
from .recipe import Recipe


def continued(recipe: Recipe) -> tuple[Recipe, Path | None]:
    """The recipe over the base of the adapter that ``base`` is, and that adapter's folder; None for a model.

    Raises: ConfigError for a recipe that wants another adapter, CheckpointError for a damaged one or another base.
    """
    folder = adapter_folder(recipe.base) if recipe.base else None
    if folder is None:
        return recipe, None
    said = described(folder)
    if not said:
        raise ConfigError(
            f"base: {folder} is an adapter as PEFT keeps it; make it one of danlu's, which training can go on from: "
            "danlu.save(*danlu.load(FOLDER), OUT)"
        )
    spec = Spec.read(said["adapter"])
    if recipe.also_train or (recipe.adapter and recipe.adapter.write() != spec.write()):
        raise ConfigError(
            f"base: {folder} is an adapter, {spec.write()}, and goes on as it is; strike adapter and also_train, or "
            "danlu merge it first and begin another on the merged model"
        )
    if (folder / MANIFEST).is_file():
        verify(folder)
    base = base_of(folder, None)
    check(base, folder)
    tokenizer = recipe.tokenizer or (str(folder) if (folder / "tokenizer.json").is_file() else None)
    return replace(recipe, base=base.path, adapter=spec, also_train=said["trains"], tokenizer=tokenizer), folder


def restore(model: Model, folder: Path | None) -> None:
    """Gives the adapter that acts the numbers of a folder, if there is one."""
    if folder is not None and model.switch is not None:
        (name,) = model.switch.active
        restore_state(model, name, tensors_in(folder / STATE), str(folder / STATE))
