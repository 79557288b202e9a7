"""Numbers on a grid of a few steps between the least and the most of a group, packed into bytes."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32
"""Channels of a value that share a grid, at most."""


def rounded(x: Tensor, dim: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers 0 … 2^bits - 1 (uint8), and least and step of each group along ``dim`` (float16, size 1 there).

    Numbers are those of the grid as it is kept, so that rounding it costs no more than it must.
    """
    most = torch.finfo(torch.float16).max
    least, top = (x.float().aminmax(dim=dim, keepdim=True)[which].clamp(-most, most) for which in (0, 1))
    least = least.half()
    step = ((top - least.float()) / (2**bits - 1)).clamp(0, most).half()
    inverse = torch.where(step > 0, 1 / step.float(), 0.0)
    numbers = ((x.float() - least.float()) * inverse).round_().clamp_(0, 2**bits - 1)
    return numbers.to(torch.uint8), least, step


def packed(numbers: Tensor, bits: int) -> Tensor:
    """(…, D) of few bits → (…, D · bits / 8) bytes, the first number lowest."""
    parts = numbers.unflatten(-1, (-1, 8 // bits))
    return sum(parts[..., place] << place * bits for place in range(8 // bits))  # type: ignore[return-value]


def unpacked(data: Tensor, bits: int) -> Tensor:
    """(…, D · bits / 8) bytes → (…, D) numbers, uint8."""
    shifts = range(0, 8, bits)
    return torch.stack([data >> shift & 2**bits - 1 for shift in shifts], -1).flatten(-2)
