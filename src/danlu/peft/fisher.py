"""Training the numbers that the data say most about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.model import Model
from . import ADAPTERS, Tending
from .choosing import Choosing, named
from .counts import Count
from .masked import Masking, Masks, hang, masks_of
from .targets import Pattern
from .units import Unit, most_telling, unit_of


class Evidence(Masks):
    """Sums of squared gradients until ``samples`` of them are taken; then 1 where a number was chosen, else 0."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values, saved=True)
        self.taken = Count()


class Estimating(Masking):
    """Adds up squared gradients for some steps in which nothing moves, then lets only the chosen numbers move."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], evidence: Evidence, unit: Unit, samples: int, share: float
    ) -> None:
        super().__init__(parameters, evidence)
        self.evidence, self.unit, self.samples, self.share = evidence, unit, samples, share
        self.sampling = False

    def pace(self, step: int) -> float:
        return float(self.evidence.taken.value >= self.samples)

    def moves(self, name: str) -> Tensor:
        mask = super().moves(name)
        return torch.zeros_like(mask) if self.sampling else mask

    @torch.no_grad()
    def graded(self, step: int) -> None:
        taken = self.evidence.taken
        self.sampling = taken.value < self.samples
        if self.sampling:
            taken.put(taken.value + 1)
            for name, parameter in self.parameters.items():
                if parameter.grad is not None:
                    self.evidence.of(name).addcmul_(parameter.grad.float(), parameter.grad.float())
        super().graded(step)

    @torch.no_grad()
    def moved(self, step: int) -> Sequence[nn.Parameter]:
        super().moved(step)
        if not self.sampling or self.evidence.taken.value < self.samples:
            return ()
        found = most_telling(self.unit, {name: self.evidence.of(name) for name in self.parameters}, self.share)
        for name, mask in found.items():
            self.evidence.of(name).copy_(mask)
        return list(self.parameters.values())


@ADAPTERS.add("fisher")
class Fisher(Choosing):
    """Measures in the first steps which numbers matter most to the data, and trains only those.

    F_i = 1/N Σ_t g_{t,i}²,  g_t: the gradient of step t (clipped as the run says), N = ``samples`` steps in which
    nothing moves; the mask keeps the largest F_i, a ``share`` of all numbers that ``at`` names. ``unit``: number, or
    what is kept or left as a whole, by its mean F: row (of a map, with its bias), head, block. All others stay as they
    are bit by bit, weight decay or not.

    Holds 4 bytes a number that might train, beside its gradient and optimizer state.
    Raises: ConfigError if ``at`` names nothing, or a run is not longer than ``samples``.
    Source: Sung et al. 2021, arXiv:2111.09839, §3 (FISH mask, empirical Fisher).
    Truth:  tests/truth/test_peft_fisher.py (mean of squares and largest ones by hand; all others equal bit by bit).
    """

    example: ClassVar[dict[str, Any]] = {"samples": 2, "share": 0.3}

    def __init__(
        self, *, share: float = 0.005, samples: int = 32, unit: str = "number", at: Pattern = "blocks.*"
    ) -> None:
        self.share, self.samples, self.unit, self.at = float(share), samples, unit, at
        if not 0 < self.share <= 1 or samples < 1:
            raise ConfigError(
                f"adapter fisher: share lies in (0, 1] and samples is at least 1, found {share} and {samples}"
            )

    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        unit = unit_of(self.unit, model)
        found = {name: p for name, p in named(model, self.at).items() if unit.groups(name, p)}
        if not found:
            raise ConfigError(f"adapter fisher: nothing that at names is made of units called {self.unit}")
        return found

    def place(self, model: Model, name: str) -> None:
        super().place(model, name)
        sums = {n: torch.zeros_like(p, dtype=torch.float32) for n, p in self.chosen(model).items()}
        hang(model, name, Evidence(sums))

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        if steps <= self.samples:
            raise ConfigError(
                f"adapter fisher: samples ({self.samples}) leaves none of {steps} steps to train in; lower it, or "
                "raise train.steps"
            )
        evidence = cast(Evidence, masks_of(model, name))
        return Estimating(self.chosen(model), evidence, unit_of(self.unit, model), self.samples, self.share)
