"""Adapters on a model: attached by name, switched, and their numbers taken and given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, ConfigError, DanluError, unknown
from ..core.spec import Spec
from ..nn.model import Model
from ..nn.sites import Site, Switch, own
from . import ADAPTERS, Adapter


@dataclass(frozen=True)
class Base:
    """The model directory an adapter was trained on, and the fingerprint of its weights."""

    path: str
    fingerprint: str


@dataclass
class Attached:
    """An adapter of one model: what it was made from, and the base it belongs to, if that is a directory.

    ``trains`` are the parameters of the model itself that it has its own values of; while it rests, ``held`` has them.
    """

    adapter: Adapter
    spec: Spec
    base: Base | None = None
    trains: list[str] = field(default_factory=list)
    held: dict[str, Tensor] = field(default_factory=dict)


def attach(
    model: Model, spec: Spec, name: str = "default", *, also: Sequence[str] = (), base: Base | None = None,
    keep: bool = True, encode: Callable[[str], Sequence[int]] | None = None,
) -> Attached:  # fmt: skip
    """Freezes the model and hangs an adapter on it, which alone acts and trains from now on; others stay, and rest.

    ``also`` names parameters of the model that train beside it: names or their beginnings, ``embed``, ``blocks.3``.
    Without ``keep`` the base's values of parameters that train are not kept, so it cannot be switched off.
    ``encode`` is the tokenizer's, for adapters that begin from a text.
    Raises: ConfigError if the name is taken, or the adapter finds no place; the model is then as it was.
    """
    switch = switch_of(model)
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ConfigError(f"an adapter's name has letters, digits, - and _, found {name!r}")
    if name in dir(Site()):
        raise ConfigError(f"an adapter cannot be named {name!r}, as the sites it hangs at have a word for themselves")
    if name in switch.adapters:
        raise ConfigError(f"an adapter named {name!r} is attached already; give this one another name")
    adapter: Adapter = spec.build(ADAPTERS, where="adapter")
    if encode is not None:
        adapter.spelled(encode)
    acted, trained = switch.active, [p for p in model.parameters() if p.requires_grad]
    activate(model)
    model.requires_grad_(False)
    try:
        adapter.place(model, name)
        _unfreeze(model, also)
        adapter.check(base.fingerprint if base else "")
    except DanluError:
        _withdraw(model, name, acted, trained)
        raise
    model.train(model.training)  # new parts, too
    mine = _trained(model)
    switch.adapters[name] = attached = Attached(adapter, adapter.settled(spec), base, list(mine))
    switch.active = (name,)
    switch.base = {n: p.detach().clone() for n, p in mine.items()} if keep else {}
    return attached


def detach(model: Model, name: str) -> None:
    """Takes an adapter off a model; raises ConfigError if it has none of that name."""
    switch = switch_of(model)
    if name not in switch.adapters:
        raise unknown("adapter", name, list(switch.adapters))
    activate(model, *(one for one in switch.active if one != name))
    _unhang(model, name)
    del switch.adapters[name]


def activate(model: Model, *names: str) -> None:
    """These adapters act from now on, in this order, and no others; without names the base answers alone.

    Nothing is read and nothing copied: parameters that an adapter has its own values of take the memory of those.
    Raises: ConfigError for an unknown name, or two adapters that want the same parameter.
    """
    switch = switch_of(model)
    if unknown_ := [name for name in names if name not in switch.adapters]:
        raise unknown("adapter", unknown_[0], list(switch.adapters))
    wanted = [n for name in names for n in switch.adapters[name].trains]
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"the adapters {list(names)} want different values of the same parameters; use one of them")
    if names == switch.active:
        return
    if wanted or any(switch.adapters[name].trains for name in switch.active):
        _exchange(model, switch, names)
    switch.active = names


@contextmanager
def acting_as(model: Model, *names: str) -> Iterator[None]:
    """These adapters act for a while, and then those that did before."""
    before = switch_of(model).active
    activate(model, *names)
    try:
        yield
    finally:
        activate(model, *before)


@torch.no_grad()
def _exchange(model: Model, switch: Switch, names: tuple[str, ...]) -> None:
    """Gives back the base's values and takes those of the adapters to come: the same parameters, other memory."""
    parameters = dict(own(model))
    if any(n not in switch.base for name in switch.active for n in switch.adapters[name].trains):
        raise ConfigError("the base's values of what this adapter trains were not kept; load the base again")
    for attached in (switch.adapters[name] for name in switch.active):
        attached.held = {n: parameters[n].data for n in attached.trains}
    for n, value in switch.base.items():
        parameters[n].data = value.to(parameters[n])
    switch.base = {}
    for attached in (switch.adapters[name] for name in names):
        for n, value in attached.held.items():
            switch.base[n] = parameters[n].data
            parameters[n].data = value.to(parameters[n])
        attached.held = {}


def state_of(model: Model, name: str) -> dict[str, Tensor]:
    """Every tensor of an adapter: those of its attachments, and its values of the model's own parameters.

    Names are those of the sites, without the adapter's own, so that it can be attached under another.
    """
    attached: Attached = switch_of(model).adapters[name]
    found = {
        f"{place}.{key}": tensor
        for place, site in sites_of(model)
        if name in site
        for key, tensor in site[name].state_dict().items()
    }
    parameters = attached.held or dict(own(model))
    return {**found, **{f"model.{n}": parameters[n].detach() for n in attached.trains}}


@torch.no_grad()
def restore_state(model: Model, name: str, state: dict[str, Tensor], where: str) -> None:
    """Takes what ``state_of`` answered; raises CheckpointError naming the first tensor that does not fit."""
    mine = state_of(model, name)
    if odd := sorted(set(mine) ^ set(state)):
        said = "is missing" if odd[0] in mine else "has no place in this model"
        raise CheckpointError(
            f"{where}: the tensor {odd[0]!r} {said} ({len(odd)} such); the adapter is of another base"
        )
    for key, tensor in state.items():
        if mine[key].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: the tensor {key!r} has shape {list(tensor.shape)}, this model asks for "
                f"{list(mine[key].shape)}; the adapter is of another base"
            )
        mine[key].copy_(tensor)


def sites_of(model: Model) -> list[tuple[str, Site]]:
    """The sites of a model that hold anything, with their places."""
    return [(place, part) for place, part in model.named_modules() if isinstance(part, Site) and len(part)]


def switch_of(model: Model) -> Switch:
    """The switch of a model's adapters."""
    if model.switch is None:
        model.switch = Switch()
    return model.switch


def _trained(model: Model) -> dict[str, Tensor]:
    """What of the model itself trains: tied parameters once, under the first of their names."""
    first = {id(p): n for n, p in reversed([*own(model)]) if p.requires_grad}
    return {n: p for n, p in own(model) if first.get(id(p)) == n}


def _unhang(model: Model, name: str) -> None:
    for _, site in sites_of(model):
        if name in site:
            del site[name]


def _withdraw(model: Model, name: str, acted: tuple[str, ...], trained: Sequence[nn.Parameter]) -> None:
    """Takes away what an adapter hung that was refused halfway; what acted and trained before does so again."""
    _unhang(model, name)
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    activate(model, *acted)


def _unfreeze(model: Model, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        parts = [p for n, p in own(model) if isinstance(p, nn.Parameter) and f"{n}.".startswith(f"{pattern}.")]
        if not parts:
            places = sorted({n.partition(".")[0] for n, _ in own(model)})
            raise unknown("parameter", pattern, places, where="also_train")
        for parameter in parts:
            parameter.requires_grad_(True)
