"""Routers: which experts a token visits, what their answers count, and what keeps the experts evenly busy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import ConfigError
from ...core.registry import Registry
from ..dims import Dims
from ..layout import Layout
from ..linear import Linear


@dataclass(frozen=True, eq=False)
class Routing:
    """experts, weights: (N, k), a column a choice; the number E of experts stands for none, with weight 0.

    logits: (N, E) before any noise; ranked: (N, E), the scores that decided.
    """

    experts: Tensor
    weights: Tensor
    logits: Tensor
    ranked: Tensor


class Router(nn.Module, ABC):
    """Scores experts by a linear map, in float32 at least, and chooses some for each token.

    ``balance`` weighs what uneven use of the experts costs and ``z`` the z-loss, mean(logsumexp(logits)²), which keeps
    logits small; both are laid aside for the objective in training only, over tokens that are no padding.
    The z-loss is that of Zoph et al. 2022, arXiv:2202.08906, eq. 5.
    """

    k: int
    """How many experts a token visits at most."""
    skips: ClassVar[bool] = False
    """Whether a choice may be none."""

    def __init__(self, dims: Dims, experts: int, *, balance: float = 0.01, z: float = 0.0) -> None:
        super().__init__()
        if balance < 0 or z < 0:
            raise ConfigError(f"a router's balance and z must not be negative, found {balance} and {z}")
        self.gate = Linear(experts, dims.model, axes=("routes", "model"))
        self.experts, self.balance, self.z = experts, balance, z

    def forward(self, x: Tensor, real: Tensor | None, layout: Layout) -> Routing:
        """x: (N, M); real: bool (N,), or None where all tokens are."""
        routing = self.choose(x, self.score(self.gate, x))
        if self.training and self.balance:
            self.weigh(x, routing, real, layout)
        if self.training and self.z:
            squares = routing.logits.logsumexp(-1).square()
            layout.aside.setdefault("router_z", []).append(self.z * mean(squares, real))
        return routing

    @abstractmethod
    def choose(self, x: Tensor, logits: Tensor) -> Routing:
        """x: (N, M); logits: (N, E)."""

    def weigh(self, x: Tensor, routing: Routing, real: Tensor | None, layout: Layout) -> None:
        """Lays aside E Σ_e f_e P_e, which is 1 where all are equally busy.

        f_e is the share of all choices that are e, P_e the mean probability of e (Fedus et al. 2021, eq. 4).
        """
        used, likely = self.use(routing, real)
        share = used / used.sum().clamp(min=1)
        cost = self.experts * (share * likely).sum()
        layout.aside.setdefault("balance", []).append(self.balance * cost)

    def use(self, routing: Routing, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """How often each expert is chosen and its mean probability.  (E,), (E,)."""
        return counts(routing.experts, self.experts, real).to(routing.logits.dtype), mean(
            routing.logits.softmax(-1), real
        )

    @staticmethod
    def score(gate: Linear, x: Tensor) -> Tensor:
        """x (N, M) → (N, E): a rounded score may choose another expert, so nothing is rounded here."""
        kind = torch.promote_types(x.dtype, torch.float32)
        with _unrounded(x):
            return F.linear(x.to(kind), gate.weight.to(kind))


def counts(experts: Tensor, number: int, real: Tensor | None) -> Tensor:
    """How many choices fell on each of ``number`` experts, those of real tokens.  (N, k) → int64 (number,)."""
    each = torch.ones_like(experts) if real is None else real[:, None].expand_as(experts).to(experts.dtype)
    total = torch.zeros(number + 1, dtype=experts.dtype, device=experts.device)
    return total.scatter_add_(0, experts.flatten(), each.flatten())[:number]


def mean(values: Tensor, real: Tensor | None) -> Tensor:
    """The mean over real tokens; 0 if there are none.  (N, …) → (…)."""
    if real is None:
        return values.mean(0)
    weight = real.to(values.dtype)
    return torch.tensordot(weight, values, 1) / weight.sum().clamp(min=1)


def _unrounded(x: Tensor) -> AbstractContextManager[Any]:
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if casts else nullcontext()


ROUTERS: Registry[type[Router]] = Registry("router", Router, __name__)
