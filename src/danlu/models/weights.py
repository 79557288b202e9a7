"""The names that a published checkpoint gives to tensors, and how they differ in shape from ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """One published tensor and the parameters it holds: several of ours laid end to end, transposed or not.

    ``aliases`` are other names under which the tensor is found in older files.
    """

    name: str
    ours: tuple[str, ...]
    transposed: bool = False
    aliases: tuple[str, ...] = ()

    def unpack(self, tensor: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
        """The published tensor cut into ours; sizes are our first dimensions."""
        return (tensor.t() if self.transposed and tensor.dim() == 2 else tensor).split(list(sizes))

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Our tensors as the published one."""
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return (joined.t() if self.transposed and joined.dim() == 2 else joined).contiguous()

    def shape(self, shapes: Sequence[torch.Size]) -> tuple[int, ...]:
        """The shape of the published tensor for our shapes."""
        joined = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return joined[::-1] if self.transposed else joined
