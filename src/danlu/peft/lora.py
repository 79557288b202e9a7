"""Low-rank adaptation."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.linear import Linear, Map
from ..nn.model import Model
from ..nn.sites import Delta
from . import ADAPTERS, Adapter
from .deltas import hang
from .targets import Pattern


class LoraDelta(Delta):
    """y + scale · B A x,  A: (r, in) drawn as torch draws linear maps, B: (out, r) zero: the start is the base."""

    def __init__(self, base: Map, *, rank: int, scale: float, dropout: float) -> None:
        super().__init__(base)
        out, inp = base.axes
        self.down = Linear(rank, base.in_features, axes=("rank", inp))
        self.up = Linear(base.out_features, rank, axes=(out, "rank"))
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        self.scale, self.dropout = scale, dropout

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        inner = self.down(F.dropout(x, self.dropout, self.training) if self.dropout else x)
        return y + self.up(inner) * self.scale

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + self.scale * (self.up.weight @ self.down.weight).to(weight.dtype), bias


@ADAPTERS.add("lora")
class Lora(Adapter):
    """Adds to frozen linear maps a product of two thin matrices, which can be merged into them afterwards.

    y = W x + b + α/r · B A x,  A: (r, in), B: (out, r) = 0 at the start;  ``scaling`` "rank" is α/r, "root" is α/√r
    (rsLoRA). Dropout acts on x before A.

    Trains r · (in + out) numbers a map.
    Raises: ConfigError if no map is named like ``at``, or a rank is larger than a map.
    Source: Hu et al. 2021, arXiv:2106.09685, §4.1; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732, eq. 4.
    Truth:  tests/parity/test_peft_lora.py (outputs and gradients of peft's LoRA with the same numbers).
    """

    merges = True

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        at: Pattern = "blocks.*.{q,k,v,o,gate,up,down}",
        scaling: str = "rank",
    ) -> None:
        if rank < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"adapter lora: rank is at least 1 and dropout in [0, 1), found {rank} and {dropout}")
        self.rank, self.alpha, self.dropout, self.at, self.scaling = rank, float(alpha), dropout, at, scaling

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.scaling == "root" else self.rank)

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, self._delta)

    def _delta(self, base: Map, place: str) -> LoraDelta:
        if self.rank > min(base.in_features, base.out_features):
            raise ConfigError(
                f"adapter lora: rank {self.rank} is larger than {place}, which maps {base.in_features} to "
                f"{base.out_features}; lower rank, or leave the map out with at"
            )
        return LoraDelta(base, rank=self.rank, scale=self.scale, dropout=self.dropout)
