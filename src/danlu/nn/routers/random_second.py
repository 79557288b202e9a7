"""The best expert always, the second at random."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from . import ROUTERS, Router, Routing, counts, mean


@ROUTERS.add("random_second")
class RandomSecond(Router):
    """Each token visits its likeliest expert, and the second one more seldom the less it counts.

    p = softmax(W x);  weights g_1, g_2: the two highest p over their sum;  in training the second is visited with
    probability min(1, 2 g_2), else it adds nothing; in evaluation it always is. f of the balance counts first choices.
    Raises: ConfigError if there are fewer than two experts.
    Source: Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1 (random routing; its auxiliary loss).
    Truth:  tests/truth/test_expert_routing.py (the share of second visits is 2 g_2 within four deviations).
    """

    skips = True

    def __init__(self, dims: Dims, experts: int, *, balance: float = 0.01, z: float = 0.0) -> None:
        super().__init__(dims, experts, balance=balance, z=z)
        if experts < 2:
            raise ConfigError(f"router random_second needs at least 2 experts, found {experts}; take router top_k")
        self.k = 2

    def choose(self, x: Tensor, logits: Tensor) -> Routing:
        weights, chosen = logits.softmax(-1).topk(2, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        if self.training:
            skipped = torch.rand_like(weights) >= 2 * weights
            skipped[:, 0] = False
            chosen, weights = chosen.masked_fill(skipped, self.experts), weights.masked_fill(skipped, 0.0)
        return Routing(chosen, weights, logits, logits)

    def use(self, routing: Routing, real: Tensor | None) -> tuple[Tensor, Tensor]:
        first = counts(routing.experts[:, :1], self.experts, real)
        return first.to(routing.logits.dtype), mean(routing.logits.softmax(-1), real)
