"""Mixture of experts: many feed-forwards, few of which each token visits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError, unknown
from ...core.spec import Spec
from ..activation import GELU, GELU_TANH, RELU, SILU, Activation
from ..dims import Dims
from ..layout import Layout
from ..linear import product_dtype
from ..remade import remade
from ..routers import ROUTERS, Routing, counts
from . import FFNS, FeedForward, gated, plain
from .moe_product import Groups, Stacked, fused

EXPERTS: dict[str, tuple[Spec, Activation, bool]] = {
    "swiglu": (Spec("swiglu"), SILU, True),
    "geglu": (Spec("geglu"), GELU, True),
    "gelu": (Spec("gelu"), GELU, False),
    "gelu_tanh": (Spec("gelu", {"tanh": True}), GELU_TANH, False),
    "relu": (Spec("relu"), RELU, False),
}
"""Kinds of experts: the same feed-forward alone, its activation, and whether a third map gates it."""


@FFNS.add("moe")
class Moe(FeedForward):
    """Each token visits a few of many feed-forwards, its answers weighed as the router says.

    y = Σ_e w_e(x) f_e(x) + shared(x);  f_e(x) = W_down (act(W_gate x) · W_up x), or W_down act(W_up x)
    ``shared``: so many further experts that all tokens visit, as one feed-forward as wide as all of them.
    ``capacity``: in training an expert takes ⌈capacity · k · tokens / experts⌉ choices, first choices before second
    ones and earlier tokens before later ones; the others add nothing, so that the residual stream passes by. In
    evaluation nothing is left out, or what a token hears would depend on its neighbors.
    ``dropout``: of what is inside experts (Switch's expert dropout). ``frozen``: experts that take no gradient.
    In training the layout is told the share of choices of the busiest expert and the share that was left out.
    Raises: ConfigError if the kind of expert or router is unknown, or a number does not fit.
    Source: Shazeer et al. 2017, arXiv:1701.06538, eq. 1; Lepikhin et al. 2020, arXiv:2006.16668, §2.2 (capacity);
    Fedus et al. 2021, arXiv:2101.03961, §2 (dropout); Dai et al. 2024, arXiv:2401.06066, §3.2 (shared experts).
    Truth:  tests/truth/test_expert_mixture.py (a sum over experts by hand; capacity by hand; finite differences).
    """

    def __init__(
        self,
        dims: Dims,
        *,
        experts: int = 8,
        expert: str = "swiglu",
        router: Spec | str | dict = "top_k",
        shared: int = 0,
        capacity: float | None = None,
        dropout: float = 0.0,
        frozen: Sequence[int] = (),
        bias: bool = False,
    ) -> None:
        super().__init__()
        _check(experts, expert, shared, capacity, dropout, frozen)
        self.router = Spec.read(router, "ffn.router").build(ROUTERS, dims, experts, where="ffn.router")
        alone, self.activation, has_gate = EXPERTS[expert]
        still, met = tuple(sorted(set(frozen))), self.router.k / experts

        def stacked(out: str, inp: str) -> Stacked:
            sizes = {"ffn": dims.ffn, "model": dims.model}
            return Stacked(experts, sizes[out], sizes[inp], axes=(out, inp), bias=bias, frozen=still, met=met)

        self.up, self.down = stacked("ffn", "model"), stacked("model", "ffn")
        self.gate = stacked("ffn", "model") if has_gate else None
        wide = replace(dims, ffn=shared * dims.ffn)
        self.shared = Spec(alone.use, {**alone.settings, "bias": bias}).build(FFNS, wide) if shared else None
        self.experts, self.capacity, self.dropout = experts, capacity, dropout

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (N, M)
        real = None if layout.plain else (layout.segment != 0).reshape(-1)
        routing = self.router(flat, real, layout)
        groups = self._sent(routing, real, layout)
        out = self._mixed(flat, routing, groups).view_as(x)
        return out if self.shared is None else out + self.shared(x, layout)

    def _sent(self, routing: Routing, real: Tensor | None, layout: Layout) -> Groups:
        """Which choices are served; padding is served by no expert."""
        chosen, limited = routing.experts, self.training and self.capacity is not None
        if real is not None:
            chosen = chosen.masked_fill(~real[:, None], self.experts)
        limit = None
        if limited:
            tokens = len(chosen) if real is None else real.sum()
            each = tokens * (self.capacity * chosen.shape[1] / self.experts)  # type: ignore[operator]
            limit = each.ceil() if isinstance(each, Tensor) else math.ceil(each)
        groups = Groups.of(chosen, self.experts, limit, whole=real is None and not self.router.skips)
        if self.training:
            used = counts(chosen, self.experts, None)
            total = used.sum().clamp(min=1)
            layout.told.setdefault("busiest_expert", []).append(used.max() / total)
            layout.told.setdefault("dropped_choices", []).append(1 - len(groups.order) / total)
        return groups

    def _mixed(self, flat: Tensor, routing: Routing, groups: Groups) -> Tensor:
        """(N, M) → (N, M): gathers the tokens of each expert, and sums what the experts answer.

        Without a gradient to record, experts answer one after the other, so that what is inside stays in the cache. On
        a GPU the order of more than two summands is torch's to choose, unless it is told to be deterministic.
        """
        flat, tokens = flat.to(product_dtype(flat)), groups.order % len(flat)
        weights = routing.weights.t().reshape(-1)[groups.order, None]
        out = torch.zeros_like(flat, dtype=torch.promote_types(flat.dtype, weights.dtype))
        if torch.is_grad_enabled() or fused(flat, self.up.weight):
            rows = _gathered(flat, tokens)
            with remade(rows, _gathered, flat, tokens):
                answers = self._answered(rows, lambda stack, x: stack.grouped(x, groups))
            return out.index_add_(0, tokens, answers * weights).to(flat.dtype)
        for expert, start, stop in groups.spans():
            here = tokens[start:stop]
            answers = self._answered(_gathered(flat, here), lambda stack, x, expert=expert: stack.alone(x, expert))
            out.index_add_(0, here, answers * weights[start:stop])
        return out.to(flat.dtype)

    def _answered(self, rows: Tensor, through: Callable[[Stacked, Tensor], Tensor]) -> Tensor:
        """What each row's expert makes of it.  (S, M) → (S, M)."""

        def down(inner: Tensor) -> Tensor:
            inner = F.dropout(inner, self.dropout, self.training) if self.dropout else inner
            return through(self.down, inner)

        up = through(self.up, rows)
        if self.gate is None:
            return plain(self.activation, up, down)
        return gated(self.activation, through(self.gate, rows), up, down)


def _gathered(x: Tensor, rows: Tensor) -> Tensor:
    return x.index_select(0, rows)


def _check(
    experts: int, expert: str, shared: int, capacity: float | None, dropout: float, frozen: Sequence[int]
) -> None:
    if expert not in EXPERTS:
        raise unknown("kind of expert", expert, list(EXPERTS), where="ffn.expert")
    if experts < 1 or shared < 0:
        raise ConfigError(f"ffn moe: experts must be at least 1 and shared not negative, found {experts} and {shared}")
    if capacity is not None and capacity <= 0:
        raise ConfigError(f"ffn moe: capacity must be above 0, found {capacity}; strike it to leave nothing out")
    if not 0 <= dropout < 1:
        raise ConfigError(f"ffn moe: dropout must lie in [0, 1), found {dropout}")
    if wrong := [number for number in frozen if not 0 <= number < experts]:
        raise ConfigError(f"ffn moe: there is no expert {wrong[0]} to freeze, only 0 … {experts - 1}")
