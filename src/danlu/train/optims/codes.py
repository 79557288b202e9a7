"""Numbers in 8 bits: a table of 256 values, denser near zero, times the largest magnitude of each block."""

from __future__ import annotations

from functools import cache
from typing import Self

import torch
from torch import Tensor

from ...quant.dynamic import dynamic

BLOCK = 256
AT_ONCE = 1 << 20
"""Numbers that are computed with at a time, so that wide copies of a state never exist whole."""


class Code:
    """One table, and the nearest entry of a number found by its upper 16 bits.

    All float32 with the same upper half share a candidate and the border above it: within [-1, 1] no two borders of
    these tables fall into one such cell.
    """

    def __init__(self, values: Tensor, low: Tensor, border: Tensor) -> None:
        self.values, self.low, self.border = values, low, border

    @classmethod
    def of(cls, *, signed: bool) -> Self:
        values = torch.tensor(dynamic(signed=signed))
        borders = (values[1:] + values[:-1]) / 2
        cells = torch.arange(1 << 16, dtype=torch.int32)
        ends = (cells << 16).view(torch.float32), ((cells << 16) | 0xFFFF).view(torch.float32)
        low = torch.bucketize(torch.minimum(*ends).nan_to_num(), borders)
        return cls(values, low.to(torch.uint8), torch.cat([borders, torch.full((1,), torch.inf)])[low])

    def on(self, device: torch.device) -> Code:
        return Code(self.values.to(device), self.low.to(device), self.border.to(device))

    def write(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest entries, and the largest magnitude of each block.  (N,) float32 → (N,) uint8, (⌈N / 256⌉,)."""
        blocks = torch.nn.functional.pad(numbers, (0, -len(numbers) % BLOCK)).view(-1, BLOCK)
        largest = torch.linalg.vector_norm(blocks, torch.inf, -1)
        unit = (blocks / largest.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).flatten()[: len(numbers)]
        cell = (unit.view(torch.int32) >> 16).bitwise_and_(0xFFFF)
        found = self.low.index_select(0, cell).add_(unit > self.border.index_select(0, cell))
        return found, largest

    def read(self, codes: Tensor, largest: Tensor) -> Tensor:
        """(N,) uint8, (⌈N / 256⌉,) → (N,) float32."""
        return self.values.index_select(0, codes.int()).mul_(largest.repeat_interleave(BLOCK)[: len(codes)])


@cache
def code(*, signed: bool) -> Code:
    """The tables, on the CPU."""
    return Code.of(signed=signed)
