"""Low-rank adaptation that is merged and begun anew, so that the sum of updates has a high rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..core.errors import ConfigError
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import own
from ..nn.storages import Stored
from . import ADAPTERS, Adapter, Tending
from .deltas import deltas_of, hang
from .lora import LoraDelta
from .low_rank import draw, expect_rank
from .targets import Pattern, targets


class Restarts(Tending):
    """Every ``every`` steps but the last of a training: merges, begins anew, and warms up."""

    def __init__(self, deltas: Sequence[LoraDelta], every: int, warmup: int, steps: int) -> None:
        self.deltas, self.every, self.warmup, self.steps = deltas, every, warmup, steps

    def pace(self, step: int) -> float:
        begun, past = divmod(step - 1, self.every)
        return min(1.0, (past + 1) / self.warmup) if begun and self.warmup else 1.0

    @torch.no_grad()
    def moved(self, step: int) -> Sequence[nn.Parameter]:
        if step % self.every or step == self.steps:
            return ()
        for delta in self.deltas:
            delta.base.put(*delta.merged(delta.base.dense(), delta.base.bias))
            draw(delta.down, delta.up)
        return [parameter for delta in self.deltas for parameter in delta.parameters()]


@ADAPTERS.add("relora")
class Relora(Adapter):
    """Trains two thin matrices, adds their product to the weight and begins anew, again and again.

    W ← W + α/r · B A,  A: (r, in) drawn anew, B: (out, r) = 0, every ``every`` steps; the optimizer forgets A and B,
    and the learning rate rises linearly over ``warmup`` steps. After n restarts W has moved by a rank up to (n + 1) r.

    Trains r · (in + out) numbers a map, and moves the base.
    Raises: ConfigError if no map is named like ``at``, a rank is larger than a map, or a map is kept quantized
    or shared.
    Source: Lialin et al. 2023, arXiv:2307.05695, §3, algorithm 1.
    Truth:  tests/truth/test_peft_linear_relora.py (the rank of W - W₀ beside plain LoRA's; the pace by hand).
    """

    merges = True
    changes_base = True
    example: ClassVar[dict[str, Any]] = {"every": 3, "warmup": 1}

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        at: Pattern = "blocks.*.{q,k,v,o,gate,up,down}",
        every: int = 1000,
        warmup: int = 50,
    ) -> None:
        if rank < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"adapter relora: rank is at least 1 and dropout in [0, 1), found {rank} and {dropout}")
        if every < 1 or not 0 <= warmup < every:
            raise ConfigError(
                f"adapter relora: every is at least 1 and warmup shorter than it, found every {every}, warmup {warmup}"
            )
        self.rank, self.alpha, self.dropout, self.at = rank, float(alpha), dropout, at
        self.every, self.warmup = every, warmup

    def place(self, model: Model, name: str) -> None:
        places = Counter(id(tensor) for _, tensor in own(model))
        for place, part in targets(model, self.at).items():
            if any(places[id(tensor)] > 1 for _, tensor in own(part)):
                raise ConfigError(
                    f"adapter relora: the weight of {place} is shared with other places, which would change when it is "
                    "merged; use the adapter lora"
                )
        hang(model, name, self.at, self._delta)

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        deltas = cast("list[LoraDelta]", list(deltas_of(model, name).values()))
        return Restarts(deltas, self.every, self.warmup, steps)

    def _delta(self, base: Map, place: str) -> LoraDelta:
        expect_rank(self.rank, base, place, "relora")
        if isinstance(base, Stored):
            raise ConfigError(
                f"adapter relora: {place} is kept as {base.name}, and what is merged into it would be rounded away; "
                "strike storage, or use the adapter lora"
            )
        return LoraDelta(base, rank=self.rank, scale=self.alpha / self.rank, dropout=self.dropout)
