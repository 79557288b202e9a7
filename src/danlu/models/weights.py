"""The names that a published checkpoint gives to tensors, and how they differ in shape from ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..nn.sites import Adapted, Attachment, Site, own
from ..nn.storages import Stored

Held = TypeVar("Held")


def stored(model: nn.Module) -> dict[str, Tensor]:
    """All that a checkpoint keeps of a model without its adapters: parameters, tied ones once, and statistics.

    What ``kept`` answers is not among them.
    """
    inside = {id(buffer) for part in kept(model).values() for buffer in part.buffers()}
    found, seen = {}, set()
    for name, tensor in own(model):
        if id(tensor) not in seen | inside:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def kept(model: nn.Module) -> dict[str, Stored]:
    """The maps whose weights are kept in a storage, by the names of the weights."""

    found: dict[int, tuple[str, Stored]] = {}  # blocks may share their maps

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            part = child.origin if isinstance(child, Adapted) else child
            if isinstance(part, Stored):
                found.setdefault(id(part), (f"{prefix}{name}.weight", part))
            elif not isinstance(child, (Attachment, Site)):
                walk(part, f"{prefix}{name}.")

    walk(model, "")
    return dict(found.values())


@dataclass(frozen=True)
class Entry:
    """One published tensor and the parameters it holds: several of ours laid end to end, transposed or not.

    ``aliases`` are other names under which the tensor is found in older files; ``lead`` counts axes of size 1 that the
    published tensor has before ours.
    """

    name: str
    ours: tuple[str, ...]
    transposed: bool = False
    aliases: tuple[str, ...] = ()
    lead: int = 0

    def of(self, held: Mapping[str, Held]) -> list[Held]:
        """What of our tensors the published one holds."""
        return [held[name] for name in self.ours]

    def unpack(self, tensor: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
        """The published tensor cut into ours; sizes are our first dimensions."""
        tensor = tensor.reshape(tensor.shape[self.lead :])
        return (tensor.t() if self.transposed and tensor.dim() == 2 else tensor).split(list(sizes))

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Our tensors as the published one."""
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        joined = joined.t() if self.transposed and joined.dim() == 2 else joined
        return joined.contiguous()[(None,) * self.lead]

    def shape(self, shapes: Sequence[torch.Size]) -> tuple[int, ...]:
        """The shape of the published tensor for our shapes."""
        joined = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return (1,) * self.lead + (joined[::-1] if self.transposed else joined)


@dataclass(frozen=True)
class Slice(Entry):
    """One published tensor for each place ``at`` of a stack of ours: experts, published one by one."""

    at: int = 0

    def of(self, held: Mapping[str, Held]) -> list[Held]:
        return [held[name][self.at] for name in self.ours]  # type: ignore[misc]


@dataclass(frozen=True)
class ByHead(Entry):
    """Ours laid head by head, not end to end: the first head of each, then the second of each, and so on."""

    heads: int = 1

    def unpack(self, tensor: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
        groups = tensor.view(self.heads, len(sizes), -1, *tensor.shape[1:])
        return [groups[:, i].flatten(0, 1) for i in range(len(sizes))]

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        groups = [tensor.view(self.heads, -1, *tensor.shape[1:]) for tensor in tensors]
        return torch.stack(groups, 1).flatten(0, 2)
