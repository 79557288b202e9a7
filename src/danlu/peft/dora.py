"""Weight-decomposed low-rank adaptation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Delta
from . import ADAPTERS, Adapter
from .deltas import hang
from .low_rank import add, expect_rank, thin
from .targets import Pattern


class DoraDelta(Delta):
    """c ∘ (y - b + scale · B A x) + b,  c = m / ‖W + scale · B A‖: (out,), which is 1 at the start."""

    def __init__(self, base: Map, *, rank: int, scale: float, dropout: float) -> None:
        super().__init__(base)
        self.down, self.up = (part.to(base.dense().device) for part in thin(base, rank))
        self.scale, self.dropout = scale, dropout
        self.magnitude = nn.Parameter(self.norms())

    @torch.no_grad()
    def norms(self) -> Tensor:
        """‖W_i + scale · B_i A‖ of every row, without a second matrix as large as W.  (out,)

        = √(‖W_i‖² + 2 scale · B_i · A W_i + scale² · B_i A Aᵀ B_iᵀ)
        """
        weight, down, up = self.base.dense(), self.down.weight, self.scale * self.up.weight
        whole = torch.promote_types(weight.dtype, down.dtype)
        own = torch.linalg.vector_norm(weight, dim=1, dtype=whole).square().to(down.dtype)
        both = (up * (weight @ down.to(weight.dtype).t())).sum(1)
        return (own + 2 * both + ((up @ (down @ down.t())) * up).sum(1)).clamp(min=0).sqrt()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        share = (self.magnitude / self.norms()).to(y.dtype)
        y = add(y, x, self.down.weight, self.up.weight, self.scale, self.dropout if self.training else 0.0) * share
        return y if self.base.bias is None else y + ((1 - share) * self.base.bias).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        update = self.scale * (self.up.weight @ self.down.weight)
        share = self.magnitude / self.norms()
        return (share[:, None] * (weight + update)).to(weight.dtype), bias


@ADAPTERS.add("dora")
class Dora(Adapter):
    """Trains how long each row of a linear map is, and by two thin matrices where it points.

    y = m / ‖W + α/r · B A‖ ∘ (W x + α/r · B A x) + b,  A: (r, in), B: (out, r) = 0, m: (out,) = ‖W‖ at the start; norms
    are those of rows, and gradients take them for constants. Dropout acts on x before A only.

    Trains r · (in + out) + out numbers a map.
    Raises: ConfigError if no map is named like ``at``, or a rank is larger than a map.
    Source: Liu et al. 2024, arXiv:2402.09353, eq. 5 and §4.3.
    Truth:  tests/truth/test_peft_linear_dora.py (eq. 5 in float64, by hand); tests/parity/test_peft_dora.py (logits
    and gradients of peft's DoRA with the same numbers).
    """

    merges = True

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        at: Pattern = "blocks.*.{q,k,v,o,gate,up,down}",
    ) -> None:
        if rank < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"adapter dora: rank is at least 1 and dropout in [0, 1), found {rank} and {dropout}")
        self.rank, self.alpha, self.dropout, self.at = rank, float(alpha), dropout, at

    def place(self, model: Model, name: str) -> None:
        hang(model, name, self.at, self._delta)

    def _delta(self, base: Map, place: str) -> DoraDelta:
        expect_rank(self.rank, base, place, "dora")
        return DoraDelta(base, rank=self.rank, scale=self.alpha / self.rank, dropout=self.dropout)
