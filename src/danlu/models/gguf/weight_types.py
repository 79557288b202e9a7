"""The types in which GGUF keeps weights, and which of them a tensor gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import unknown
from . import q4_k

Packed = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Type:
    """``name`` is GGUF's; rows must be multiples of ``block`` long; ``head`` is the type of what scores tokens."""

    name: str
    block: int
    pack: Callable[[Tensor], Packed]
    else_: str = "f16"
    head: str = ""
    file: int = 0


def _half(weight: Tensor) -> Packed:
    return weight.half().numpy()


def _by_package(name: str) -> Callable[[Tensor], Packed]:
    def pack(weight: Tensor) -> Packed:
        from gguf import GGMLQuantizationType, quants

        return quants.quantize(weight.float().numpy(), GGMLQuantizationType[name])

    return pack


TYPES = {
    "f32": Type("F32", 1, lambda weight: weight.float().numpy(), file=0),
    "f16": Type("F16", 1, _half, file=1),
    "bf16": Type("BF16", 1, lambda weight: weight.bfloat16().view(torch.int16).numpy(), file=32),
    "q8_0": Type("Q8_0", 32, _by_package("Q8_0"), file=7),
    "q4_0": Type("Q4_0", 32, _by_package("Q4_0"), head="q8_0", file=2),
    "q4_k": Type("Q4_K", q4_k.BLOCK, lambda weight: q4_k.pack(weight).numpy(), else_="q4_0", head="q8_0", file=14),
}
"""The names of ``--type``; ``file`` is general.file_type."""

NATIVE = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def named(name: str) -> Type:
    """Raises ConfigError naming the known types."""
    if name not in TYPES:
        raise unknown("GGUF type", name, list(TYPES))
    return TYPES[name]


def chosen(wanted: Type, shape: tuple[int, ...], *, head: bool) -> Type:
    """The type of one tensor: vectors whole, what scores tokens in 8 bits at least, others as long as rows fit."""
    if len(shape) == 1:
        return TYPES["f32"]
    kind = TYPES[wanted.head] if head and wanted.head else wanted
    while shape[-1] % kind.block:
        kind = TYPES[kind.else_]
    return kind
