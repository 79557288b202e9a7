"""How loss falls with parameters and tokens, as published fits, and the best split of a budget of arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


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


def kaplan_loss(*, params: float | None = None, tokens: float | None = None) -> float:
    """Loss in nats when one resource is the bottleneck: L(N) = (8.8e13/N)^0.076 or L(D) = (5.4e13/D)^0.095.

    ``params`` do not count the embedding. Give exactly one of the two.
    Source: Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1 and 1.2.
    Truth:  tests/truth/test_plan_scaling.py (the constants' own value at 22 billion tokens).
    """
    assert (params is None) != (tokens is None), "give params or tokens"
    return (8.8e13 / params) ** 0.076 if params is not None else (5.4e13 / tokens) ** 0.095  # type: ignore[operator]
