"""The most likely experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Layout
from . import ROUTERS, Router, Routing


@ROUTERS.add("top_k")
class TopK(Router):
    """Each token visits its ``k`` most likely experts, whose answers count as probable as they are.

    p = softmax(W x);  weights: p of the chosen, divided by their sum if ``renormalize`` (Mixtral; Switch has k = 1
    and does not). ``pooled``: f and P of the balance are taken over all layers at once and Σ f = k, as Mixtral's loss
    in transformers; else each layer has its own, and their costs add.
    Raises: ConfigError if ``k`` is not within 1 … experts.
    Source: Fedus et al. 2021, arXiv:2101.03961, eq. 1-6; Jiang et al. 2024, arXiv:2401.04088, §2.1.
    Truth:  tests/truth/test_expert_routing.py (choices and losses by hand; uniform routing costs balance).
    """

    def __init__(
        self,
        dims: Dims,
        experts: int,
        *,
        k: int = 2,
        renormalize: bool = True,
        balance: float = 0.01,
        z: float = 0.0,
        pooled: bool = False,
    ) -> None:
        super().__init__(dims, experts, balance=balance, z=z)
        if not 1 <= k <= experts:
            raise ConfigError(f"router top_k: k must lie within 1 … experts ({experts}), found {k}")
        self.k, self.renormalize, self.pooled = k, renormalize, pooled

    def choose(self, x: Tensor, logits: Tensor) -> Routing:
        weights, chosen = logits.softmax(-1).topk(self.k, -1)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(chosen, weights, logits, logits)

    def weigh(self, x: Tensor, routing: Routing, real: Tensor | None, layout: Layout) -> None:
        if not self.pooled:
            return super().weigh(x, routing, real, layout)
        used, likely = self.use(routing, real)
        return layout.leave("balance", self._over_layers, (used * self.k / used.sum().clamp(min=1), likely))

    def _over_layers(self, left: list[Any]) -> Tensor:
        used, likely = (torch.stack(each).mean(0) for each in zip(*left, strict=True))
        return self.balance * self.experts * (used * likely).sum()
