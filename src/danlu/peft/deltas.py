"""Hanging a delta on every linear map that a pattern means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Adapted, Delta
from .attached import switch_of
from .targets import Pattern, targets

D = TypeVar("D", bound=Delta)


def hang(model: Model, name: str, pattern: Pattern, make: Callable[[Map, str], D]) -> list[D]:
    """Makes a delta for each map, given the map without adapters and its name; answers them in order.

    None is hung before all are made: where ``make`` refuses a map, the model stays as it is.
    """
    parts = targets(model, pattern)
    made = {place: _made(part, place, make) for place, part in parts.items()}
    for place, part in parts.items():
        adapted = part if isinstance(part, Adapted) else _adapted(model, place, part)
        adapted.deltas.hang(name, made[place], switch_of(model))
    return list(made.values())


def deltas_of(model: Model, name: str) -> dict[str, Delta]:
    """What an adapter hung on linear maps, by the names of the maps."""
    found = {place: part for place, part in model.named_modules() if isinstance(part, Adapted) and name in part.deltas}
    return {place: cast(Delta, part.deltas[name]) for place, part in found.items()}


def _made(part: Map, place: str, make: Callable[[Map, str], D]) -> D:
    origin = part.origin if isinstance(part, Adapted) else part
    return make(origin, place).to(_device(origin))


def _device(part: Map) -> torch.device:
    return next(tensor.device for tensor in (*part.parameters(), *part.buffers()))


def _adapted(model: Model, place: str, part: Map) -> Adapted:
    parent, _, leaf = place.rpartition(".")
    adapted = Adapted(part)
    setattr(model.get_submodule(parent), leaf, adapted)
    return adapted
