"""A linear map whose weights are whole numbers, a row or groups of a row sharing a scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ConfigError, ShapeError
from ..nn import native
from ..nn.storages import Storage, Stored
from .kernels import WHOLE, Kernel, laid
from .pieces import Pieced, multiplied
from .widths import Width

GROUPS = (16, 32, 64, 128, 256)
"""How many weights of a row may share a scale."""

ROWS = 256
"""Rows that are rounded at once."""

LEAST = 1e-30
"""Largest numbers below it are taken for it: what a group of zeros is divided by."""


class Whole(Pieced):
    """w = (number - zero) · scale of its group.

    weight: (out, bytes), as ``width`` keeps numbers; scale: (out, groups), bf16 where its numbers are no finer; zero:
    (out, groups) int8, or None where all are 0.
    """

    weight: Tensor
    scale: Tensor
    zero: Tensor | None
    reading: ClassVar[str] = "exact"
    """How native kernels read what these weights are multiplied with."""
    kernels: ClassVar[tuple[Kernel, ...]] = WHOLE

    def __init__(
        self, storage: Storage, kind: str, width: Width, kept: dict[str, Tensor], shape: tuple[int, int],
        bias: Tensor | None, axes: tuple[str, str], *, group: int | None, compute: torch.dtype | None,
    ) -> None:  # fmt: skip
        super().__init__(storage, shape, bias, axes, compute)
        self.kind, self.width, self.group = kind, width, group
        self.register_buffer("weight", kept["weight"])
        self.register_buffer("scale", kept["scale"])
        self.register_buffer("zero", kept.get("zero"))

    @property
    def name(self) -> str:
        return self.kind

    def take(self, other: Stored) -> None:
        assert isinstance(other, Whole)
        super().take(other)
        self.group = other.group

    def served(self, x: Tensor) -> Tensor:
        for kernel in self.kernels:
            if (y := kernel.run(self, x)) is not None:
                return y
        return self.times(x)

    def times(self, x: Tensor) -> Tensor:
        if self.group is not None or self.zero is not None:
            return super().times(x)
        y = multiplied(x, self.out_features, self.unscaled)
        return y.mul_(self.scale.to(y.dtype).t()).to(x.dtype)

    def pieces(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        made = dtype if dtype == self.scale.dtype else torch.float32
        for first, numbers in self.unscaled(made, room):
            rows = slice(first, first + len(numbers))
            zero = None if self.zero is None else self.zero[rows].to(made)
            yield first, scaled(numbers, self.scale[rows].to(made), zero, self.group).to(dtype)

    def unscaled(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        """As ``pieces``, before they are multiplied by their scales."""
        step = max(room // self.in_features, 1)
        for number, kept in enumerate(self.weight.split(step)):
            yield number * step, self.width.unpack(kept, self.in_features, dtype)

    def numbers(self) -> Tensor:
        """int8 (out, in)"""
        return self.width.unpack(self.weight, self.in_features, torch.int8)

    @property
    def matrix(self) -> native.Matrix | None:
        """The weight as native kernels read it; None where they are not there, or cannot."""
        return laid(self.weight, self.reading, self._matrix) if native.ready() else None

    def _matrix(self) -> native.Matrix | None:
        try:
            return self.width.matrix(self.numbers(), self.scale, self.zero, self.reading)
        except ShapeError:
            return None

    def tensors(self) -> dict[str, Tensor]:
        if self.group is not None and self.in_features % self.group:
            fitting = [size for size in GROUPS if self.in_features % size == 0]
            raise ConfigError(
                f"rows of {self.in_features} weights do not divide into groups of {self.group}, as compressed-tensors "
                f"asks; choose {f'a group of {fitting[-1]}' if fitting else 'whole rows (no group)'}"
            )
        shape = torch.tensor([self.out_features, self.in_features])
        made = {"weight_packed": self.width.words(self.weight), "weight_scale": self.scale, "weight_shape": shape}
        return made if self.zero is None else made | {"weight_zero_point": packed_zeros(self.zero, self.width)}

    def rows(self) -> dict[str, Tensor]:
        kept = {"weight": self.weight, "scale": self.scale}
        return kept if self.zero is None else kept | {"zero": self.zero}


def scaled(numbers: Tensor, scale: Tensor, zero: Tensor | None, group: int | None) -> Tensor:
    """Numbers (R, in), less the zeros of their groups (R, groups), times their scales, perhaps in place."""
    count, size = numbers.shape[1], group or numbers.shape[1]
    padded = F.pad(numbers, (0, -count % size)) if count % size else numbers
    groups = padded.view(*scale.shape, size)
    moved = groups if zero is None else groups.sub_(zero[..., None])
    return moved.mul_(scale[..., None]).view(len(numbers), -1)[:, :count]


def packed_zeros(zero: Tensor, width: Width) -> Tensor:
    """Zeros (out, groups) in words of those of one group after another: int32 (⌈out · bits / 32⌉, groups)."""
    return width.words(width.pack(zero.t().contiguous())).t().contiguous()


def unpacked_zeros(words: Tensor, out: int, width: Width) -> Tensor:
    """The inverse.  (out, groups) int8"""
    kept = width.of_words(words.t().contiguous(), out)
    return width.unpack(kept, out, torch.int8).t().contiguous()


Grid = Callable[[Tensor, Width], tuple[Tensor, Tensor | None]]
"""Scales and zeros (R, groups) for groups (R, groups, size) of numbers in a width."""


def around_zero(largest: float) -> Grid:
    """Steps around 0, of which the largest of a group is so many before it is rounded."""
    return lambda groups, width: (bf16(groups.abs().amax(2) / largest), None)


def between_ends(groups: Tensor, width: Width) -> tuple[Tensor, Tensor | None]:
    """Steps from the least of a group to its largest; 0 is one of them."""
    low, high = groups.amin(2).clamp_(max=0), groups.amax(2).clamp_(min=0)
    scale = bf16((high - low) / (2**width.bits - 1))
    return scale, (width.least - low / scale).round_().clamp_(width.least, -width.least - 1)


def bf16(scale: Tensor) -> Tensor:
    """Rounded to numbers of bf16, before others are chosen for them, so that no model's dtype rounds them again."""
    return scale.clamp_(min=LEAST).to(torch.bfloat16).float()


def rounded(weight: Tensor, width: Width, grid: Grid, group: int | None) -> dict[str, Tensor]:
    """A weight (out, in) as whole numbers, their scales and, where the grid has them, their zeros."""
    inp = weight.shape[1]
    size = group or inp
    kept, scales, zeros = [], [], []
    for rows in weight.split(ROWS):
        groups = F.pad(rows.float(), (0, -inp % size)).view(len(rows), -1, size)
        scale, zero = grid(groups, width)
        numbers = (groups / scale[..., None]).add_(0 if zero is None else zero[..., None]).round_()
        numbers = numbers.clamp_(width.least, -width.least - 1).to(torch.int8).view(len(rows), -1)[:, :inp]
        kept.append(width.pack(numbers))
        scales.append(scale.to(torch.bfloat16))
        zeros += [] if zero is None else [zero.to(torch.int8)]
    made = {"weight": torch.cat(kept), "scale": torch.cat(scales)}
    return made | ({"zero": torch.cat(zeros)} if zeros else {})


def narrow(scale: Tensor) -> Tensor:
    """Scales in bf16 if that rounds none of them, else in fp32."""
    short = scale.to(torch.bfloat16)
    return short if torch.equal(short.float(), scale.float()) else scale.float()
