"""Adapters that become part of another: read from their folders, or taken from those that are attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import CheckpointError, ConfigError, unknown
from ..core.files import read_json
from ..core.spec import Spec
from ..nn.model import Model
from ..nn.sites import Branch
from . import ADAPTERS, Adapter
from .attached import Attached, restore_state, sites_of, state_of, switch_of

OWN, STATE = "danlu/adapter.json", "danlu/adapter.safetensors"
Sources = Mapping[str, str | dict[str, Any]] | Sequence[str]
"""A folder for each name; or, where the numbers come later, the member's settings; or names of attached adapters."""


@dataclass(frozen=True)
class Member:
    """One adapter: its settings, its numbers (None: they come later), the base it belongs to, where it was found."""

    name: str
    spec: Spec
    state: dict[str, Tensor] | None = None
    base: str = ""
    where: str = ""


def members(model: Model, sources: Sources) -> list[Member]:
    """What the sources name.

    Raises: CheckpointError if a folder holds no adapter, or members were trained on different bases; ConfigError for
    the name of an adapter that is not attached, or a member that moved the base.
    """
    if isinstance(sources, Mapping):
        found = [_read(name, source) for name, source in sources.items()]
    else:
        found = [_attached(model, name) for name in sources]
    based = [member for member in found if member.base]
    if odd := [member for member in based if member.base != based[0].base]:
        raise CheckpointError(
            f"{odd[0].where}: this adapter was trained on another base than {based[0].where}; fuse adapters of one base"
        )
    return found


def placed(model: Model, member: Member) -> dict[str, Branch]:
    """The branches of a member with its numbers, by the place where each would hang; none is left there."""
    adapter: Adapter = member.spec.build(ADAPTERS, where=f"adapter.adapters.{member.name}")
    switch, name = switch_of(model), f"member-{member.name}"
    try:
        adapter.place(model, name)
        if member.state is not None:
            switch.adapters[name] = Attached(adapter, member.spec)
            restore_state(model, name, member.state, member.where)
    finally:
        switch.adapters.pop(name, None)
        parts = {place: site.pop(name) for place, site in sites_of(model) if name in site}
    if not parts or not all(isinstance(part, Branch) for part in parts.values()):
        raise ConfigError(
            f"adapter: {member.name} ({member.spec.use}) does not act on what sublayers answer; use houlsby, pfeiffer "
            "or parallel_adapter"
        )
    return parts  # type: ignore[return-value]


def _read(name: str, source: str | dict[str, Any] | Spec) -> Member:
    if not isinstance(source, str):
        return Member(name, Spec.read(source, f"adapter.adapters.{name}"), where=name)
    folder = next((place for place in (Path(source), Path(source) / "final") if (place / OWN).is_file()), None)
    if folder is None:
        raise CheckpointError(f"{source}: holds no adapter of danlu ({OWN}); give the folder final of a run")
    said = read_json(folder / OWN, "the description of an adapter")
    base = (said.get("base") or {}).get("fingerprint", "")
    state = None if _numberless() else load_file(folder / STATE)
    return _still(said["trains"], Member(name, Spec.read(said["adapter"]), state, base, source))


def _numberless() -> bool:
    """Whether tensors hold nothing here: on the meta device, or where a plan traces a step."""
    probe = torch.empty(())
    return probe.is_meta or type(probe) is not Tensor


def _attached(model: Model, name: str) -> Member:
    adapters: dict[str, Attached] = switch_of(model).adapters
    if name not in adapters:
        raise unknown("adapter", name, list(adapters))
    found = adapters[name]
    base = found.base.fingerprint if found.base else ""
    state = {key: tensor.clone() for key, tensor in state_of(model, name).items()}
    return _still(found.trains, Member(name, found.spec, state, base, name))


def _still(trains: Sequence[str], member: Member) -> Member:
    if trains:
        raise ConfigError(
            f"{member.where}: this adapter moved {trains[0]!r} of the model itself, which it cannot share with others; "
            "train it without also_train"
        )
    return member
