"""Which numbers of parameters are chosen together: each alone, rows, heads, whole blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..core.errors import unknown
from ..nn.attention import Attends
from ..nn.linear import Map
from ..nn.model import Model
from .branches import blocks


@dataclass(frozen=True)
class Groups:
    """``ids`` (0 … ``count`` - 1 of ``owner``) of the groups that numbers belong to; broadcasts to their parameter."""

    owner: str
    count: int
    ids: Tensor


class Unit(ABC):
    """How the parameters of one model fall into groups."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @abstractmethod
    def groups(self, name: str, parameter: Tensor) -> Groups | None:
        """None for a parameter that is not made of such groups."""


class Number(Unit):
    """Every number alone."""

    def groups(self, name: str, parameter: Tensor) -> Groups:
        ids = torch.arange(parameter.numel(), device=parameter.device)
        return Groups(name, parameter.numel(), ids.view(parameter.shape))


class Row(Unit):
    """A row of a map with its bias: one number of what it answers. Of stacked experts, an expert."""

    def groups(self, name: str, parameter: Tensor) -> Groups:
        return _along(0, parameter, 1, name.rpartition(".")[0])


class Head(Unit):
    """A head of attention: its rows of q and its columns of o together; its rows of k and v together."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.maps = {
            f"{place}.{leaf}": (place, cast(Map, part.get_submodule(leaf)).axes, part.head)
            for place, part in model.named_modules()
            if isinstance(part, Attends)
            for leaf in ("q", "k", "v", "o")
        }

    def groups(self, name: str, parameter: Tensor) -> Groups | None:
        place, axes, size = self.maps.get(name.rpartition(".")[0], ("", (), 1))
        dim = next((dim for dim, axis in enumerate(axes[: parameter.ndim]) if "heads" in str(axis)), None)
        return None if dim is None else _along(dim, parameter, size, f"{place}.{axes[dim]}")


class Block(Unit):
    """A whole block."""

    def groups(self, name: str, parameter: Tensor) -> Groups | None:
        place = next((place for place in blocks(self.model) if name.startswith(f"{place}.")), None)
        ids = torch.zeros([1] * parameter.ndim, dtype=torch.int64, device=parameter.device)
        return None if place is None else Groups(place, 1, ids)


UNITS: dict[str, type[Unit]] = {"number": Number, "row": Row, "head": Head, "block": Block}


def unit_of(name: str, model: Model) -> Unit:
    """Raises ConfigError for an unknown unit."""
    if name not in UNITS:
        raise unknown("unit", name, list(UNITS), where="adapter")
    return UNITS[name](model)


def most_telling(unit: Unit, scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks of the groups of highest mean score, as many as hold at most ``share`` of all numbers; at least one."""
    sums: dict[str, Tensor] = {}
    sizes: dict[str, int] = {}
    for name, score in scores.items():
        if groups := unit.groups(name, score):
            held = sums.setdefault(groups.owner, score.new_zeros(groups.count))
            held.index_add_(0, groups.ids.flatten(), score.sum_to_size(groups.ids.shape).flatten())
            sizes[groups.owner] = sizes.get(groups.owner, 0) + score.numel() // groups.count
    numbers = torch.cat([torch.full_like(held, size) for held, size in zip(sums.values(), sizes.values(), strict=True)])
    room = share * sum(len(sums[owner]) * size for owner, size in sizes.items())
    best = _best(torch.cat(list(sums.values())) / numbers, numbers, room, min(sizes.values()))
    picked = dict(zip(sums, best.split([len(part) for part in sums.values()]), strict=True))
    return {
        name: picked[groups.owner][groups.ids].expand(score.shape)
        for name, score in scores.items()
        if (groups := unit.groups(name, score))
    }


def _best(scores: Tensor, sizes: Tensor, room: float, smallest: int) -> Tensor:
    """Which groups have the highest scores, while they fit into the room."""
    most = min(len(scores), max(1, int(room / smallest + 1e-6)))
    order = torch.topk(scores, most).indices
    fits = sizes[order].double().cumsum(0) <= room * (1 + 1e-9)
    fits[0] = True
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(0, order, fits)


def _along(dim: int, parameter: Tensor, size: int, owner: str) -> Groups:
    """Groups of ``size`` neighbors along one direction of a parameter."""
    shape = [1] * parameter.ndim
    shape[dim] = -1
    ids = torch.arange(parameter.shape[dim], device=parameter.device) // size
    return Groups(owner, parameter.shape[dim] // size, ids.view(shape))
