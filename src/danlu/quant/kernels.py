"""Products with whole numbers as they are kept: which kernel serves is a matter of rows, dtype and processor."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..nn import native

if TYPE_CHECKING:
    from .whole import Whole

Laid = TypeVar("Laid")
_laid: Any = WeakTensorKeyDictionary()


def laid(weight: Tensor, way: str, make: Callable[[], Laid]) -> Laid:
    """A weight in the order that a kernel reads.

    It is laid out once for all maps that share the weight, again when its numbers have changed, and lies beside it.
    """
    version = 0 if weight.is_inference() else weight._version
    ways = _laid.get(weight)
    if ways is None:
        ways = _laid[weight] = {}
    found = ways.get(way)
    if found is None or found[0] != version:
        found = ways[way] = version, make()
    return found[1]


class Kernel(ABC):
    """y = x Wᵀ, rounded as the dtype of x asks and nowhere else."""

    @abstractmethod
    def run(self, part: Whole, x: Tensor) -> Tensor | None:
        """(N, in) → (N, out), in the dtype of x; None for what it does not serve, or no faster than full weights."""


class Native(Kernel):
    """Kernels of danlu's own, for so many rows: numbers become fp32 in registers.

    A row's answer is the same bits whatever rows are beside it.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def run(self, part: Whole, x: Tensor) -> Tensor | None:
        serves = x.shape[0] <= self.rows and x.dtype in (torch.float32, torch.bfloat16) and on_host(x)
        matrix = part.matrix if serves else None
        return None if matrix is None else native.product(matrix, x)


class Bytes(Kernel):
    """torch's kernel of eight bits and one scale a row, for a few rows of bf16."""

    def run(self, part: Whole, x: Tensor) -> Tensor | None:
        serves = part.width.bits == 8 and part.group is None and _short(part, x)
        return torch.ops.aten._weight_int8pack_mm(x, part.weight, part.scale.view(-1)) if serves else None


class Nibbles(Kernel):
    """torch's kernel of four bits in groups, for a few rows of bf16."""

    def run(self, part: Whole, x: Tensor) -> Tensor | None:
        fits = part.group in (32, 64, 128) and part.in_features % part.group == 0 and part.out_features % 16 == 0
        if part.width.bits != 4 or not fits or not _short(part, x):
            return None
        numbers, scales = laid(part.weight, "nibbles", lambda: self._lay(part))
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, numbers, part.group, scales)

    def _lay(self, part: Whole) -> tuple[Tensor, Tensor]:
        raised = part.numbers().int() - part.width.least
        scales = part.scale.t()[..., None]  # G out 1
        pairs = torch.cat([scales, torch.zeros_like(scales)], 2).contiguous()
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(raised, 1), pairs


class Onednn(Kernel):
    """torch's kernel of bytes times bytes, where the processor has an instruction for it; x is rounded token by token.

    Without the instruction, oneDNN adds pairs up in 16 bits, which do not hold them.
    """

    def run(self, part: Whole, x: Tensor) -> Tensor | None:
        if not (on_host(x) and _multiplies_bytes()):
            return None
        weight, ones, zeros = laid(part.weight, "onednn", lambda: self._lay(part))
        numbers, scale = by_token(x)
        raised = numbers.add_(128).to(torch.uint8)
        sums = torch.ops.onednn.qlinear_pointwise(
            raised, 1.0, 128, weight, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return sums.mul_(part.scale.float().t()).mul_(scale).to(x.dtype)

    def _lay(self, part: Whole) -> tuple[Tensor, Tensor, Tensor]:
        out = part.out_features
        packed = torch.ops.onednn.qlinear_prepack(part.weight, None)
        return packed, torch.ones(out), torch.zeros(out, dtype=torch.int32)


FEW = 8
"""Rows of torch's kernels beyond which making the weight in full, once for all of them, is faster."""

WHOLE: tuple[Kernel, ...] = (Native(32), Bytes(), Nibbles())
BY_TOKEN: tuple[Kernel, ...] = (Native(128), Onednn())
LARGEST = 127.5
"""What the largest activation of a token is, before it is rounded."""

LEAST = 1e-30
"""What a token of zeros is divided by."""


def by_token(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each vector as whole numbers in -128 … 127, and its scale, in fp32.  (…, in) → (…, in), (…, 1)"""
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).clamp_(min=LEAST) / LARGEST
    return (x / scale).round_().clamp_(-128, 127), scale


def on_host(x: Tensor) -> bool:
    """Whether these are numbers in the host's memory, not the shapes of a plan."""
    return type(x) is Tensor and x.device.type == "cpu"


def _short(part: Whole, x: Tensor) -> bool:
    return len(x) <= FEW and x.dtype == part.scale.dtype == torch.bfloat16 and part.zero is None and on_host(x)


@functools.cache
def _multiplies_bytes() -> bool:
    able = torch.cpu.get_capabilities()
    return bool(torch.backends.mkldnn.is_available() and (able.get("avx512_vnni") or able.get("avx_vnni")))
