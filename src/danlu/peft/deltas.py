"""Hanging a delta on every linear map that a pattern means."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Adapted, Delta
from .attached import switch_of
from .targets import Pattern, targets


def hang(model: Model, name: str, pattern: Pattern, make: Callable[[Map, str], Delta]) -> list[Delta]:
    """Makes a delta for each map, given the map without adapters and its name; answers them in order."""
    switch, made = switch_of(model), []
    for place, part in targets(model, pattern).items():
        adapted = part if isinstance(part, Adapted) else _adapted(model, place, part)
        delta = make(adapted.origin, place).to(_device(adapted.origin))
        adapted.deltas.hang(name, delta, switch)
        made.append(delta)
    return made


def _device(part: Map) -> torch.device:
    return next(tensor.device for tensor in (*part.parameters(), *part.buffers()))


def _adapted(model: Model, place: str, part: Map) -> Adapted:
    parent, _, leaf = place.rpartition(".")
    adapted = Adapted(part)
    setattr(model.get_submodule(parent), leaf, adapted)
    return adapted
