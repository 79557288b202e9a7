"""Low-rank adaptation that gives important linear maps a higher rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..core.errors import ConfigError
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Site
from . import ADAPTERS, Adapter, Tending
from .attached import switch_of
from .deltas import deltas_of, hang
from .low_rank import expect_rank
from .targets import Pattern
from .triplets import Orthogonal, SvdDelta


@dataclass(frozen=True)
class Budget:
    """How many triplets all maps have together, step by step: ``first``, then falling to ``last``, then that."""

    first: int
    last: int
    warmup: int
    final: int
    steps: int

    def at(self, step: int) -> int:
        """b = b_T + (b_0 - b_T) (1 - (t - t_i) / (T - t_i - t_f))³ between warm-up and final steps."""
        if step <= self.warmup:
            return self.first
        if step >= self.steps - self.final:
            return self.last
        left = 1 - (step - self.warmup) / (self.steps - self.final - self.warmup)
        return int(self.last + (self.first - self.last) * left**3)


class Allotted(Tending):
    """Masks the least important triplets of all maps: every ``interval`` steps anew, and for good in the final ones."""

    def __init__(self, deltas: Sequence[SvdDelta], budget: Budget, interval: int, betas: Sequence[float]) -> None:
        self.deltas, self.budget, self.interval, self.betas = deltas, budget, interval, betas
        self.settled = budget.steps - budget.final

    def graded(self, step: int) -> None:
        if step < self.settled:
            for delta in self.deltas:
                delta.weigh(self.betas)

    @torch.no_grad()
    def moved(self, step: int) -> Sequence[nn.Parameter]:
        if step == self.settled or (self.budget.warmup < step < self.settled and step % self.interval == 0):
            self._choose(self.budget.at(step))
            self._mask()
        elif step > self.settled:
            self._mask()
        return ()

    def _choose(self, budget: int) -> None:
        scores = torch.cat([delta.scores() for delta in self.deltas])
        kept = torch.zeros_like(scores, dtype=torch.bool)
        kept[scores.argsort(descending=True, stable=True)[:budget]] = True
        for delta, mine in zip(self.deltas, kept.split([len(delta.values) for delta in self.deltas]), strict=True):
            delta.get_buffer("kept").copy_(mine)

    def _mask(self) -> None:
        for delta in self.deltas:
            delta.values.mul_(delta.get_buffer("kept"))


@ADAPTERS.add("adalora")
class AdaLora(Adapter):
    """Adds triplets of a singular value and its two vectors, and keeps the most important ones of all maps.

    y = W x + b + α/r₀ · P Λ Q x,  P: (out, r₀), Λ = diag(r₀) = 0 at the start, Q: (r₀, in);  r₀ = ``initial``.
    Importance of a number: I = |w · ∂loss/∂w|;  Ī ← β₁ Ī + (1 - β₁) I;  Ū ← β₂ Ū + (1 - β₂) |I - Ī|;  s = Ī · Ū.
    Every ``interval`` steps triplets beyond the budget are masked (λ = 0), not deleted: they still get gradients. The
    budget falls by a cubic from ``initial`` to ``rank`` a map in the mean; ``phases`` is how long it waits before and
    stays afterwards, in steps, or in shares of the training where below 1. ``orthogonality`` weighs the mean of
    ‖PᵀP - I‖² + ‖QQᵀ - I‖² over maps (the paper's sum would grow with their number).

    Trains r₀ · (in + out + 1) numbers a map.
    Raises: ConfigError if no map is named like ``at``, ``initial`` is larger than a map, the budget is less than a
    triplet a map or never falls, or the training is too short for its phases.
    Source: Zhang et al. 2023, arXiv:2303.10512, eq. 3-11 and, with t - t_i in place of t - t_i - t_f, eq. 12.
    Truth:  tests/truth/test_peft_linear_adalora.py (eq. 4 and 8-11 in numpy, the budget by hand);
    tests/parity/test_peft_adalora.py (outputs, gradients, importance, budget and masks of peft's AdaLoRA).
    """

    merges = True
    example: ClassVar[dict[str, Any]] = {"rank": 2, "initial": 6, "phases": [1, 1], "interval": 2}

    def __init__(
        self,
        *,
        rank: int = 8,
        initial: int = 12,
        alpha: float = 16.0,
        at: Pattern = "blocks.*.{q,k,v,o,gate,up,down}",
        orthogonality: float = 0.1,
        phases: Sequence[float] = (0.1, 0.2),
        interval: int = 10,
        betas: Sequence[float] = (0.85, 0.85),
    ) -> None:
        for sentence in _faults(rank, initial, orthogonality, phases, interval, betas):
            raise ConfigError(f"adapter adalora: {sentence}")
        self.rank, self.initial, self.alpha, self.at = rank, initial, float(alpha), at
        self.orthogonality, self.phases, self.interval, self.betas = orthogonality, phases, interval, betas

    def place(self, model: Model, name: str) -> None:
        sites = [part for place, part in model.named_modules() if f".{place}".endswith(".inputs")]
        if self.orthogonality and not sites:
            raise ConfigError("adapter adalora: this model has no site embed to weigh from; say orthogonality: 0")
        deltas = hang(model, name, self.at, self._delta)
        if self.orthogonality:
            cast(Site, sites[-1]).hang(name, Orthogonal(deltas, self.orthogonality), switch_of(model))

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        deltas = cast("list[SvdDelta]", list(deltas_of(model, name).values()))
        warmup, final = (int(phase * steps) if phase < 1 else int(phase) for phase in self.phases)
        if warmup + final >= steps:
            raise ConfigError(
                f"adapter adalora: {warmup} steps before the budget falls and {final} after leave none of {steps}; "
                "shorten phases, or train longer"
            )
        budget = Budget(self.initial * len(deltas), self.rank * len(deltas), warmup, final, steps)
        return Allotted(deltas, budget, self.interval, self.betas)

    def _delta(self, base: Map, place: str) -> SvdDelta:
        expect_rank(self.initial, base, place, "adalora")
        return SvdDelta(base, rank=self.initial, scale=self.alpha / self.initial)


def _faults(
    rank: int, initial: int, orthogonality: float, phases: Sequence[float], interval: int, betas: Sequence[float]
) -> Iterator[str]:
    if rank < 1:
        yield f"a budget of {rank} triplets a map is less than one; raise rank to at least 1"
    if initial < rank:
        yield f"the budget falls from initial to rank, so initial {initial} cannot be less than rank {rank}"
    if len(phases) != 2 or min(phases) < 0:
        yield f"phases is [before, after], none below 0, found {list(phases)}"
    if len(betas) != 2 or not all(0 < beta < 1 for beta in betas):
        yield f"betas is [importance, uncertainty], each between 0 and 1, found {list(betas)}"
    if interval < 1 or orthogonality < 0:
        yield f"interval is at least 1 and orthogonality not below 0, found {interval} and {orthogonality}"
