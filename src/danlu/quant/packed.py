"""A linear map whose weights lie two in a byte: what it is kept in, and how it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..nn.storages import Storage, Stored
from .dynamic import decode
from .pieces import ROOM, Pieced

GROUP = 256
"""Constants that share one of their own."""

CELLS = 2048
"""Parts of [0, 1] in each of which a number may be nearest to two values of a code at most."""

LEAST = 1e-38
"""What a block of zeros is divided by."""


class Packed(Pieced):
    """w = code[number] · constant of its block,  with two numbers a byte, the first in the upper half.

    packed: (⌈N / 2⌉, 1) of N = out · in numbers, row after row; absmax: (⌈N / block⌉,) the constants, or their places
    in ``nested_code``: constant = nested_code[absmax] · nested_absmax[group] + offset. ``dtype`` is what it was kept
    in before.
    """

    packed: Tensor
    absmax: Tensor
    nested_absmax: Tensor | None
    nested_code: Tensor | None
    offset: Tensor | None
    pairs: Tensor

    def __init__(
        self, storage: Storage, kind: str, code: Sequence[float], shape: tuple[int, int], bias: Tensor | None,
        axes: tuple[str, str], kept: dict[str, Tensor], *, block: int, dtype: torch.dtype,
        compute: torch.dtype | None,
    ) -> None:  # fmt: skip
        super().__init__(storage, shape, bias, axes, compute)
        self.kind, self.block, self.dtype = kind, block, dtype
        for name in ("packed", "absmax", "nested_absmax", "nested_code", "offset"):
            self.register_buffer(name, kept.get(name))
        values = torch.tensor(code, device=self.packed.device)
        byte = torch.arange(256, device=values.device)
        pairs = torch.stack([values[byte >> 4], values[byte & 15]], 1)  # 256 2
        self.register_buffer("pairs", pairs.view(torch.int64).flatten(), persistent=False)

    @property
    def name(self) -> str:
        return self.kind

    def take(self, other: Stored) -> None:
        assert isinstance(other, Packed)
        super().take(other)
        self.block, self.dtype = other.block, other.dtype

    def constants(self) -> Tensor:
        """In fp32.  (⌈N / block⌉,)"""
        if self.nested_absmax is None or self.nested_code is None or self.offset is None:
            return self.absmax
        return decode(self.absmax, self.nested_code, self.nested_absmax, GROUP) + self.offset

    def pieces(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        width, block, constants, packed = self.in_features, self.block, self.constants(), self.packed.view(-1)
        unit = block // math.gcd(width, block)  # rows that end where a block does
        step = min(max(room // width // unit, 1) * unit, self.out_features)
        places = packed.new_empty(math.ceil(step * width / 2), dtype=torch.int32)
        values = self.pairs.new_empty(len(places))
        for first in range(0, self.out_features, step):
            begin, count = first * width, min(step, self.out_features - first) * width
            some = packed[begin // 2 :][: math.ceil(count / 2)]
            places[: len(some)].copy_(some)
            torch.index_select(self.pairs, 0, places[: len(some)], out=values[: len(some)])
            numbers = values.view(torch.float32)[:count]
            _scale(numbers, constants[begin // block :], block)
            yield first, numbers.view(-1, width).to(dtype)

    def tensors(self) -> dict[str, Tensor]:
        state = {
            "quant_type": self.kind,
            "blocksize": self.block,
            "dtype": str(self.dtype).removeprefix("torch."),
            "shape": [self.out_features, self.in_features],
        }
        values = self.pairs.view(torch.float32).view(256, 2)[:16, 1] + 0.0  # no number is -0
        made = {"weight": self.packed, "weight.absmax": self.absmax, "weight.quant_map": values}
        if self.nested_absmax is not None and self.nested_code is not None and self.offset is not None:
            state |= {"nested_blocksize": GROUP, "nested_dtype": "float32", "nested_offset": self.offset.item()}
            made |= {"weight.nested_absmax": self.nested_absmax, "weight.nested_quant_map": self.nested_code.clone()}
        text = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
        return {**made, f"weight.quant_state.bitsandbytes__{self.kind}": text}

    def rows(self) -> dict[str, Tensor]:
        if self.in_features % self.block:
            raise ConfigError(
                f"a block of {self.block} weights kept as {self.kind} spans rows of {self.in_features}, so maps that "
                "are published as one tensor cannot be joined or cut; choose a block that divides the row, or none"
            )
        rows = self.out_features
        return {"packed": self.packed.view(rows, -1), "absmax": self.constants().view(rows, -1)}


def pack(flat: Tensor, code: Sequence[float], block: int) -> tuple[Tensor, Tensor]:
    """Numbers (N,) as the nearest in ``code``: packed and the constants in fp32, a piece at a time."""
    nearest = _Nearest(code, flat.device)
    packed = torch.empty(math.ceil(len(flat) / 2), dtype=torch.uint8, device=flat.device)
    constants = torch.empty(math.ceil(len(flat) / block), device=flat.device)
    for begin in range(0, len(flat), ROOM):  # a power of two, as blocks are
        scaled, largest = _scaled(flat[begin : begin + ROOM].float(), block)
        constants[begin // block :][: len(largest)] = largest
        near = nearest.of(scaled)
        packed[begin // 2 :][: len(near) // 2] = near[::2] << 4 | near[1::2]
    return packed[:, None], constants


class _Nearest:
    """Which of 16 values a number in [-1, 1] is nearest to; halfway, the lower one.

    [-1, 1] is cut into cells so small that each has at most one bound between values in it, or next to it: a number is
    compared with the bound of its cell, and with no other.
    """

    def __init__(self, code: Sequence[float], device: torch.device) -> None:
        order = sorted(range(16), key=lambda number: code[number])
        values = torch.tensor([code[number] for number in order], device=device)
        bounds = (values[:-1] + values[1:]) / 2
        centers = (torch.arange(2 * CELLS + 1, device=device) + 0.5) / CELLS - 1
        self.below = torch.bucketize(centers, (bounds[:-1] + bounds[1:]) / 2, out_int32=True)
        self.bound, self.order = bounds[self.below], torch.tensor(order, dtype=torch.uint8, device=device)

    def of(self, scaled: Tensor) -> Tensor:
        cell = ((scaled + 1) * CELLS).int().clamp_(0, 2 * CELLS)
        place = self.below.index_select(0, cell) + (scaled > self.bound.index_select(0, cell))
        return self.order.index_select(0, place)


def _scaled(piece: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Numbers divided by the largest of their block, evened out with a zero, and the largest."""
    whole = len(piece) // block * block
    blocks, rest = piece[:whole].view(-1, block), piece[whole:]
    largest = blocks.abs().amax(1)
    scaled = [(blocks * (1 / largest.clamp(min=LEAST))[:, None]).clamp_(-1, 1).flatten()]
    if len(rest):
        last = rest.abs().amax(0, keepdim=True).clamp(min=LEAST)
        largest = torch.cat([largest, last])
        scaled += [(rest / last).clamp_(-1, 1), rest.new_zeros(len(rest) % 2)]
    return torch.cat(scaled) if len(rest) else scaled[0], largest


def _scale(numbers: Tensor, constants: Tensor, block: int) -> None:
    """Multiplies each block by its constant."""
    whole = len(numbers) // block
    numbers[: whole * block].view(-1, block).mul_(constants[:whole, None])
    if len(numbers) % block:
        numbers[whole * block :].mul_(constants[whole])
