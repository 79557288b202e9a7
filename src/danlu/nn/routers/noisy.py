"""The best experts after noise whose size is learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Layout
from ..linear import Linear
from . import ROUTERS, Router, Routing, mean


@ROUTERS.add("noisy")
class NoisyTopK(Router):
    """Scores get normal noise in training, of a size that is learned for each expert; the ``k`` highest are visited.

    H_i = (W_g x)_i + ε_i s_i(x), s = softplus(W_n x) + 0.01;  weights = softmax of the k highest H, the others are 0.
    Costs, each the squared coefficient of variation over experts: of importance, Σ_x weight of e, and of load,
    Σ_x P(e is among the k of x if its noise is drawn again) = Σ_x Φ(((W_g x)_e - rest_k) / s_e(x)),
    where rest_k is the k-th highest H without e.
    Raises: ConfigError if ``k`` is not within 1 … experts - 1.
    Source: Shazeer et al. 2017, arXiv:1701.06538, eq. 3-10.
    Truth:  tests/truth/test_expert_routing.py (without noise by hand; the load against a count of drawn noise).
    """

    def __init__(self, dims: Dims, experts: int, *, k: int = 2, balance: float = 0.1, z: float = 0.0) -> None:
        super().__init__(dims, experts, balance=balance, z=z)
        if not 1 <= k < experts:
            raise ConfigError(f"router noisy: k must lie within 1 … experts - 1 ({experts - 1}), found {k}")
        self.noise = Linear(experts, dims.model, axes=("routes", "model"))
        self.k = k

    def choose(self, x: Tensor, logits: Tensor) -> Routing:
        ranked = logits + torch.randn_like(logits) * self._spread(x) if self.training else logits
        best, chosen = ranked.topk(self.k, -1)
        return Routing(chosen, best.softmax(-1), logits, ranked)

    def weigh(self, x: Tensor, routing: Routing, real: Tensor | None, layout: Layout) -> None:
        importance = torch.zeros_like(routing.logits).scatter(1, routing.experts, routing.weights)
        costs = [_variation(mean(each, real)) for each in (importance, self.load(x, routing))]
        layout.aside.setdefault("balance", []).extend(self.balance * cost for cost in costs)

    def load(self, x: Tensor, routing: Routing) -> Tensor:
        """The probability that each expert is among the chosen if only its own noise is drawn again.  (N, E)."""
        best = routing.ranked.topk(self.k + 1, -1).values
        inside, outside = best[:, -1:], best[:, -2:-1]  # the k-th highest of the others, for those within and without
        rest = torch.where(routing.ranked > inside, inside, outside)
        return torch.special.ndtr((routing.logits - rest) / self._spread(x))

    def _spread(self, x: Tensor) -> Tensor:
        return F.softplus(self.score(self.noise, x)) + 1e-2


def _variation(values: Tensor) -> Tensor:
    """The squared coefficient of variation."""
    return values.var(correction=0) / values.mean().square().clamp(min=1e-10)
