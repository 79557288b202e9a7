"""Low-rank adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from ..core.errors import ConfigError, unknown
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Delta
from . import ADAPTERS, Adapter
from .deltas import hang
from .low_rank import add, expect_rank, thin
from .targets import Pattern

ROOTS: dict[str, Callable[[float], float]] = {"rank": float, "root": math.sqrt}
"""What α is divided by, of the rank."""


class LoraDelta(Delta):
    """y + scale · B A x,  A: (r, in) drawn as torch draws linear maps, B: (out, r) zero: the start is the base."""

    def __init__(self, base: Map, *, rank: int, scale: float, dropout: float) -> None:
        super().__init__(base)
        self.down, self.up = thin(base, rank)
        self.scale, self.dropout = scale, dropout

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return add(y, x, self.down.weight, self.up.weight, self.scale, self.dropout if self.training else 0.0)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        update = self.scale * (self.up.weight @ self.down.weight)
        return (weight + update).to(weight.dtype), bias


@ADAPTERS.add("lora")
class Lora(Adapter):
    """Adds to frozen linear maps a product of two thin matrices, which can be merged into them afterwards.

    y = W x + b + α/r · B A x,  A: (r, in), B: (out, r) = 0 at the start;  ``scaling`` "rank" is α/r, "root" is α/√r
    (rsLoRA). Dropout acts on x before A. ``at`` names maps, "all" means every linear map of the blocks.

    Trains r · (in + out) numbers a map.
    Raises: ConfigError if no map is named like ``at``, or a rank is larger than a map.
    Source: Hu et al. 2021, arXiv:2106.09685, §4.1; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732, eq. 4.
    Truth:  tests/truth/test_peft_linear_lora.py (W + α/r B A in float64; gradients by finite differences);
    tests/parity/test_peft_lora.py (outputs and gradients of peft's LoRA with the same numbers).
    """

    merges = True

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        at: Pattern = "blocks.*.{q,k,v,o,gate,up,down}",
        scaling: Literal["rank", "root"] = "rank",
    ) -> None:
        if rank < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"adapter lora: rank is at least 1 and dropout in [0, 1), found {rank} and {dropout}")
        if scaling not in ROOTS:
            raise unknown("scaling", scaling, list(ROOTS), where="adapter lora")
        self.rank, self.alpha, self.dropout, self.at, self.scaling = rank, float(alpha), dropout, at, scaling

    @property
    def scale(self) -> float:
        return self.alpha / ROOTS[self.scaling](self.rank)

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, self._delta)

    def _delta(self, base: Map, place: str) -> LoraDelta:
        expect_rank(self.rank, base, place, "lora")
        return LoraDelta(base, rank=self.rank, scale=self.scale, dropout=self.dropout)
