"""How loss falls with parameters and tokens, as published fits, and the best split of a budget of arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError
from .operations import SECONDS_A_DAY

PF_DAY = 1e15 * SECONDS_A_DAY


@dataclass(frozen=True)
class Fit:
    """A parametric law of the final loss in nats a token: L(N, D) = E + A / N^α + B / D^β.

    Source: Hoffmann et al. 2022, arXiv:2203.15556, eq. 2 and 4; coefficients of EPOCH: Besiroglu et al. 2024,
    arXiv:2404.10102.
    Truth:  tests/truth/test_plan_scaling.py (Gopher's loss 1.993; the optimum against a search along 6ND = C).
    """

    floor: float
    a: float
    b: float
    alpha: float
    beta: float

    @property
    def exponents(self) -> tuple[float, float]:
        """(a, b) of N ∝ C^a and D ∝ C^b: β/(α + β) and α/(α + β)."""
        total = self.alpha + self.beta
        return self.beta / total, self.alpha / total

    def loss(self, params: float, tokens: float) -> float:
        return self.floor + self.a / params**self.alpha + self.b / tokens**self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) of least loss with 6·N·D = flops: N = G·(C/6)^(β/(α+β)), G = (αA/βB)^(1/(α+β))."""
        total = self.alpha + self.beta
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / total)
        params = scale * (flops / 6) ** (self.beta / total)
        return params, flops / 6 / params

    def tokens_for(self, params: float) -> float:
        """Tokens at which a model of ``params`` parameters is the best use of its own training arithmetic."""
        total = self.alpha + self.beta
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / total)
        return (params / scale) ** (total / self.beta) / params


CHINCHILLA = Fit(1.69, 406.4, 410.7, 0.34, 0.28)
EPOCH = Fit(1.8172, 482.01, 2085.43, 0.3478, 0.3658)


@dataclass(frozen=True)
class PowerLaw:
    """The best tokens of a model as a power of its size: D = ``tokens`` · (N / 10⁹)^``power``, and so N ∝ C^(1/(1+p)).

    Source: Hoffmann et al. 2022, arXiv:2203.15556, table 3 (approach 1) and table A3 (2 and 3): the line through
    their rows of 1 and 10,000 billion parameters. Their printed E, A, B, α, β do not give the rows of approach 3.
    Truth:  tests/truth/test_plan_scaling.py (the rows between; the exponents .50/.50, .49/.51, .46/.54).
    """

    tokens: float
    power: float

    @property
    def exponents(self) -> tuple[float, float]:
        """(a, b) of N ∝ C^a and D ∝ C^b."""
        return 1 / (1 + self.power), self.power / (1 + self.power)

    def tokens_for(self, params: float) -> float:
        return self.tokens * (params / 1e9) ** self.power

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) with 6·N·D = flops."""
        params = 1e9 * (flops / (6e9 * self.tokens)) ** (1 / (1 + self.power))
        return params, flops / 6 / params


APPROACHES = {1: PowerLaw(20.2e9, 1.00737), 2: PowerLaw(20.0e9, 1.04109), 3: PowerLaw(27.1e9, 1.18024)}
"""Chinchilla's three ways to find the best tokens, by their number."""


@dataclass(frozen=True)
class KaplanFrontier:
    """Kaplan's best size for a budget: N = 1.3·10⁹ · C^0.73 with C in PF-days, so D ∝ C^0.27; the loss
    there is (3.1·10⁸ / C)^0.05.

    Source: Kaplan et al. 2020, arXiv:2001.08361, eq. 1.3 and table 6 (C_min).
    Truth:  tests/truth/test_plan_scaling.py (published exponents; a budget of one PF-day).
    """

    size: float = 1.3e9
    power: float = 0.73

    @property
    def exponents(self) -> tuple[float, float]:
        return self.power, 1 - self.power

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) with 6·N·D = flops; N without the embedding."""
        params = self.size * (flops / PF_DAY) ** self.power
        return params, flops / 6 / params

    def tokens_for(self, params: float) -> float:
        return (params / self.size) ** (1 / self.power) * PF_DAY / 6 / params

    def loss(self, flops: float) -> float:
        return (3.1e8 / (flops / PF_DAY)) ** 0.05


KAPLAN = KaplanFrontier()


def compute_optimal(params: float) -> dict[str, float]:
    """Tokens at which a model of this size is the best use of its arithmetic, by who says so.

    ``params`` is counted as each paper does; the difference is the embedding and small beside that of the laws.
    """
    laws = {f"Chinchilla, approach {number}": law for number, law in APPROACHES.items()}
    every = {"Kaplan 2020": KAPLAN, **laws, "Chinchilla refit by Epoch": EPOCH}
    return {name: law.tokens_for(params) for name, law in every.items()}


def kaplan_loss(*, params: float | None = None, tokens: float | None = None) -> float:
    """Loss in nats: L(N) = (8.8e13/N)^0.076 or L(D) = (5.4e13/D)^0.095 when one resource is the bottleneck, and
    L(N, D) = ((6.4e13/N)^(0.076/0.103) + 1.8e13/D)^0.103 of both.

    ``params`` do not count the embedding.
    Raises: ConfigError if neither is given.
    Source: Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1, 1.2 and 1.5 with table 2.
    Truth:  tests/truth/test_plan_scaling.py (the constants' own value at 22 billion tokens).
    """
    if params is not None and tokens is not None:
        return ((6.4e13 / params) ** (0.076 / 0.103) + 1.8e13 / tokens) ** 0.103
    if params is not None:
        return (8.8e13 / params) ** 0.076
    if tokens is not None:
        return (5.4e13 / tokens) ** 0.095
    raise ConfigError("kaplan_loss needs params, tokens or both")
