"""Weights as the kernels read them: full numbers in place, or 8 and 4 bits in panels of 16 outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ShapeError

PANEL, BLOCK = 16, 32
DENSE = {torch.float32: "fp32", torch.bfloat16: "bf16"}
KINDS = ("fp32", "bf16", "int8", "int4")
READINGS = {"exact": 0, "blocks": 2, "token": 3}
"""How what is multiplied with integers is read, and ``Form`` of products.h."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight (out, inp) of one kind.

    fp32, bf16: ``data`` is the weight itself. int8, int4: ``data`` is packed and w = q · scale + offset, one of each
    for ``group`` weights of an output. ``reading`` is how x is multiplied with integers: "exact" as fp32, "blocks"
    rounded to 8 bits with a scale for each 32 channels, "token" with one a row.
    """

    kind: str
    out: int
    inp: int
    group: int
    data: Tensor
    scales: Tensor | None = None
    offsets: Tensor | None = None
    reading: str = "exact"

    @property
    def nbytes(self) -> int:
        """What is read of it for one token."""
        return sum(part.nbytes for part in (self.data, self.scales, self.offsets) if part is not None)


def dense(weight: Tensor) -> Matrix:
    """A full weight, in place.  (out, inp) fp32 or bf16, in rows.

    Raises: ShapeError for another dtype or layout.
    """
    if not readable(weight):
        raise ShapeError(f"native kernels read fp32 and bf16 weights in rows on the host, found {weight.dtype}")
    return Matrix(DENSE[weight.dtype], weight.shape[0], weight.shape[1], weight.shape[1], weight)


def readable(weight: Tensor) -> bool:
    """Whether a full weight can be read in place."""
    return weight.dtype in DENSE and weight.is_contiguous() and weight.device.type == "cpu"


def int8(numbers: Tensor, scales: Tensor, *, reading: str = "exact") -> Matrix:
    """w = q · scale.  numbers: (out, inp) int8 within -127 … 127, scales: (out,) or (out, groups).

    Raises: ShapeError if groups are not multiples of 32 channels, or a number is -128.
    """
    out, inp = numbers.shape
    if (numbers == -128).any():
        raise ShapeError("the kernels multiply integers of -127 … 127 and found -128; let torch multiply this weight")
    quads = _padded(numbers).unflatten(0, (-1, PANEL)).unflatten(2, (-1, 4))  # panels 16 quads 4
    return _packed("int8", (out, inp), quads.transpose(1, 2), scales, None, reading)


def int4(numbers: Tensor, scales: Tensor, offsets: Tensor | None = None, *, reading: str = "exact") -> Matrix:
    """w = q · scale + offset.  numbers: (out, inp) int8 within -8 … 7, scales and offsets: (out, groups).

    Raises: ShapeError if groups are not multiples of 32 channels.
    """
    out, inp = numbers.shape
    halves = (_padded(numbers) + 8).to(torch.uint8).unflatten(0, (-1, PANEL)).unflatten(2, (-1, 2, 4))
    bytes_ = halves[:, :, :, 0] | halves[:, :, :, 1] << 4  # panels 16 octets 4
    return _packed("int4", (out, inp), bytes_.transpose(1, 2), scales, offsets, reading)


def unpacked(matrix: Matrix) -> tuple[Tensor, Tensor, Tensor | None]:
    """What ``int8`` or ``int4`` was given: numbers (out, inp) int8, scales (out, groups) fp32, offsets or None."""
    assert matrix.scales is not None, "full weights are not packed"
    width = -(-matrix.inp // BLOCK) * BLOCK
    if matrix.kind == "int8":
        numbers = matrix.data.view(-1, width // 4, PANEL, 4).transpose(1, 2).flatten(2)
    else:
        bytes_ = matrix.data.view(-1, width // 8, PANEL, 4).transpose(1, 2)  # panels 16 octets 4
        numbers = torch.stack([bytes_ & 15, bytes_ >> 4], 3).flatten(2).to(torch.int8) - 8
    offsets = None if matrix.offsets is None else _constants_of(matrix, matrix.offsets)
    return numbers.flatten(0, 1)[: matrix.out, : matrix.inp], _constants_of(matrix, matrix.scales), offsets


def _packed(
    kind: str, shape: tuple[int, int], data: Tensor, scales: Tensor, offsets: Tensor | None, reading: str
) -> Matrix:
    (out, inp), columns = shape, scales.reshape(shape[0], -1).shape[1]
    group = inp // columns if columns > 1 else -(-inp // BLOCK) * BLOCK
    if columns > 1 and (inp % columns or group % BLOCK):
        raise ShapeError(
            f"groups of a packed weight are multiples of {BLOCK} channels, found {columns} groups of {inp}; choose "
            "groups of 32, 64 or 128"
        )
    kept = _constants(scales.float().reshape(out, columns))
    halves = kept.half()
    exact = bool((halves.float() == kept).all())
    moved = None if offsets is None else _constants(offsets.float().reshape(out, columns))
    return Matrix(kind, out, inp, group, data.contiguous().view(-1), halves if exact else kept, moved, reading)


def _padded(numbers: Tensor) -> Tensor:
    """With outputs up to a panel and channels up to a block, zeros all."""
    out, inp = numbers.shape
    return F.pad(numbers, (0, -inp % BLOCK, 0, -out % PANEL))


def _constants(values: Tensor) -> Tensor:
    """(out, groups) → (panels · groups · 16,)"""
    padded = F.pad(values, (0, 0, 0, -len(values) % PANEL))
    return padded.view(-1, PANEL, values.shape[1]).transpose(1, 2).contiguous().view(-1)


def _constants_of(matrix: Matrix, kept: Tensor) -> Tensor:
    """The inverse, in fp32."""
    panels = -(-matrix.out // PANEL)
    return kept.float().view(panels, -1, PANEL).transpose(1, 2).flatten(0, 1)[: matrix.out].contiguous()
