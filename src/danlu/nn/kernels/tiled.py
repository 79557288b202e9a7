"""FlashAttention in plain torch: exact, with memory that grows with the row and not with its square."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...core.errors import ConfigError
from ..masks import Mask
from ..positions import Position
from ..tiles import meeting
from . import KERNELS, Ask, Kernel, lifted, sees

Pair = tuple[slice, slice]


@KERNELS.add("tiled")
class Tiled(Kernel):
    """Walks over tiles of ``tile`` queries by ``tile`` keys and holds the scores of one, forward and backward.

    a tile with scores s: m' = max(m, max s), p = exp(s - m'), l ← l · exp(m - m') + Σ p, o ← o · exp(m - m') + p v;
    out = o / l.  Backward keeps L = m + log l and makes p = exp(s - L) again: ds = p · (do vᵀ - Σ do · out).

    ``loop`` 1 walks over keys outside and queries inside and keeps o normalized; 2 walks over queries outside and
    divides once at the end. A bias is asked of the position tile by tile, its gradient too. Tiles in which no query may
    look at any key are skipped. Scores are float32 at least, under autocast too.
    Raises: ConfigError if there is no such loop, or tile is below 1.
    Source: Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4; Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
    Truth:  tests/truth/test_kernel_tiled.py (the definition in float64, gradients and a learned bias; bytes kept).
    """

    whole = False

    def __init__(self, *, loop: int = 2, tile: int = 256) -> None:
        if loop not in LOOPS:
            raise ConfigError(f"kernel tiled has the loops {sorted(LOOPS)}, found {loop!r}")
        if tile < 1:
            raise ConfigError(f"a tile is at least 1 token, found {tile}")
        self.loop, self.tile = loop, tile

    def excludes(self, position: Position, mask: Mask) -> str | None:
        if position.touches_scores:
            return "the position encoding needs the scores of all keys at once, and a tile shows only some of them"
        return None

    def refuses(self, ask: Ask) -> str | None:
        return self.excludes(ask.position, ask.mask) or lifted(ask)

    def run(self, ask: Ask) -> Tensor:
        learned = [p for p in ask.position.parameters() if p.requires_grad] if ask.position.biased else []
        walk = _Walk(ask, LOOPS[self.loop], self.tile)
        return _Attend.apply(walk, ask.q, ask.keys.k, ask.keys.v, *learned)


class _Loop(ABC):
    """The order of tiles, and when a query's sum is divided by its weight."""

    outer: ClassVar[int]
    """The side of a pair that the outer loop walks over: 0 queries, 1 keys."""

    @abstractmethod
    def fold(self, out: Tensor, fresh: Tensor, shrink: Tensor, before: Tensor, mass: Tensor) -> None:
        """Adds a tile's sum to ``out``, whose weight ``before`` shrinks by ``shrink`` and becomes ``mass``."""

    @abstractmethod
    def end(self, out: Tensor, mass: Tensor) -> None:
        """After the last tile."""


class _KeysOutside(_Loop):
    """FlashAttention 1: after every tile a query's mean is whole."""

    outer = 1

    def fold(self, out: Tensor, fresh: Tensor, shrink: Tensor, before: Tensor, mass: Tensor) -> None:
        whole = mass.clamp(min=1.0)  # the largest key seen weighs 1; only a blind query has less
        out.mul_(shrink * before / whole).add_(fresh / whole)

    def end(self, out: Tensor, mass: Tensor) -> None:
        pass


class _QueriesOutside(_Loop):
    """FlashAttention 2: sums are only shifted to the new maximum, and divided once."""

    outer = 0

    def fold(self, out: Tensor, fresh: Tensor, shrink: Tensor, before: Tensor, mass: Tensor) -> None:
        out.mul_(shrink).add_(fresh)

    def end(self, out: Tensor, mass: Tensor) -> None:
        out.div_(mass.clamp(min=1.0))


LOOPS: dict[int, _Loop] = {1: _KeysOutside(), 2: _QueriesOutside()}


class _Side(NamedTuple):
    """Where queries or keys stand: (B or 1, T) each."""

    position: Tensor
    turn: Tensor
    document: Tensor

    def part(self, tile: slice) -> _Side:
        return _Side(*(x[:, tile] for x in self))


class _Walk:
    """The tiles of a question that may hold scores, in order, and what its scores are made of besides q and k."""

    def __init__(self, ask: Ask, loop: _Loop, tile: int) -> None:
        rows = slice(0, 1) if ask.layout.plain else slice(None)
        self.q_side, self.k_side = (
            _Side(x.position[rows], x.turn[rows], x.segment[rows]) for x in (ask.layout, ask.keys)
        )
        self.mask, self.position, self.factor, self.loop = ask.mask, ask.position, ask.factor, loop
        self.exact = torch.promote_types(ask.q.dtype, torch.float32)
        met = meeting(ask.layout, ask.keys, ask.mask, tile, tile).any(0).nonzero().tolist()
        met.sort(key=lambda at: at[loop.outer])
        self.pairs: list[Pair] = [(slice(i * tile, (i + 1) * tile), slice(j * tile, (j + 1) * tile)) for i, j in met]

    def queries(self, x: Tensor, pair: Pair, kv_heads: int) -> Tensor:
        """(B, T, H, D) → the tile's (B, K, H / K · t, D): heads that share keys are one longer side of a product."""
        return x[:, pair[0]].transpose(1, 2).reshape(len(x), kv_heads, -1, x.shape[-1]).to(self.exact)

    def keys(self, x: Tensor, pair: Pair) -> Tensor:
        """(B, S, K, D) → the tile's (B, K, s, D)."""
        return x[:, pair[1]].transpose(1, 2).to(self.exact)

    def bias(self, pair: Pair) -> Tensor | None:
        """What the position adds to the tile's scores, (B or 1, H, t, s)."""
        if not self.position.biased:
            return None
        return self.position.bias(self.q_side.position[:, pair[0]], self.k_side.position[:, pair[1]])

    def scores(self, q: Tensor, k: Tensor, bias: Tensor | None, pair: Pair, heads: int) -> Tensor:
        """(B, H, t, s), -inf where a query may not look.  q: (B, K, H / K · t, D), k: (B, K, s, D)."""
        scores = (q @ k.mT).mul_(self.factor).view(len(q), heads, -1, k.shape[2])
        if bias is not None:
            scores.add_(bias)
        q_side, k_side = self.q_side.part(pair[0]), self.k_side.part(pair[1])
        q_turn, q_document = q_side.turn[..., None], q_side.document[..., None]
        may = sees(self.mask, q_turn, q_document, k_side.turn[:, None], k_side.document[:, None])
        return scores.masked_fill_(~may[:, None], -torch.inf)


class _Attend(Function):
    """softmax(scores) v over the tiles of a walk.  q: (B, T, H, D); k, v: (B, S, K, D); ``learned`` makes the bias."""

    @staticmethod
    def forward(ctx: Any, walk: _Walk, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        rows, length, heads, _ = q.shape
        out = torch.zeros(q.shape, dtype=walk.exact, device=q.device)
        high = out.new_full((rows, heads, length, 1), torch.finfo(walk.exact).min)
        mass = torch.zeros_like(high)
        with torch.autocast(q.device.type, enabled=False):
            for pair in walk.pairs:
                q_tile, k_tile, v_tile = walk.queries(q, pair, k.shape[2]), walk.keys(k, pair), walk.keys(v, pair)
                scores = walk.scores(q_tile, k_tile, walk.bias(pair), pair, heads)
                _absorb(walk.loop, [x[:, :, pair[0]] for x in (out.transpose(1, 2), high, mass)], scores, v_tile)
        walk.loop.end(out.transpose(1, 2), mass)
        log_sum = high.add_(mass.log()).masked_fill_(mass == 0, torch.inf)  # a blind query: exp(s - inf) is 0
        out = out.to(q.dtype)
        ctx.walk = walk
        ctx.save_for_backward(q, k, v, out, log_sum, *learned)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, log_sum, *learned = ctx.saved_tensors
        walk = ctx.walk
        delta = (grad.to(walk.exact) * out).sum(-1, keepdim=True).transpose(1, 2)  # (B, H, T, 1)
        into = [torch.zeros(x.shape, dtype=walk.exact, device=x.device) for x in (q, k, v)]
        learn = _Learn(learned)
        with torch.autocast(q.device.type, enabled=False):
            for pair in walk.pairs:
                _retrace(walk, pair, (q, k, v, grad), into, log_sum[:, :, pair[0]], delta[:, :, pair[0]], learn)
        return None, *(x.to(like.dtype) for x, like in zip(into, (q, k, v), strict=True)), *learn.found


def _absorb(loop: _Loop, held: Sequence[Tensor], scores: Tensor, v: Tensor) -> None:
    """One tile more.  held: out (B, H, t, D), high and mass (B, H, t, 1); scores: (B, H, t, s); v: (B, K, s, D)."""
    out, high, mass = held
    top = torch.maximum(high, scores.amax(-1, keepdim=True))
    weight = scores.sub_(top).exp_()
    shrink, before = (high - top).exp_(), mass.clone()
    mass.mul_(shrink).add_(weight.sum(-1, keepdim=True))
    fresh = (weight.view(*v.shape[:2], -1, v.shape[2]) @ v).view(out.shape)
    loop.fold(out, fresh, shrink, before, mass)
    high.copy_(top)


def _retrace(
    walk: _Walk,
    pair: Pair,
    given: Sequence[Tensor],
    into: Sequence[Tensor],
    log_sum: Tensor,
    delta: Tensor,
    learn: _Learn,
) -> None:
    """Adds one tile's gradients to those of q, k and v, and of what makes the bias."""
    (q, k, v, grad), (to_q, to_k, to_v) = given, (x.transpose(1, 2) for x in into)
    heads, kv_heads = q.shape[2], k.shape[2]
    q_tile, grad_tile = (walk.queries(x, pair, kv_heads) for x in (q, grad))
    k_tile, v_tile = (walk.keys(x, pair) for x in (k, v))
    with torch.set_grad_enabled(bool(learn.learned)):
        bias = walk.bias(pair)
    scores = walk.scores(q_tile, k_tile, None if bias is None else bias.detach(), pair, heads)
    weight = scores.sub_(log_sum).exp_()  # (B, H, t, s)
    flat = (*k_tile.shape[:2], -1, k_tile.shape[2])  # (B, K, H / K · t, s)
    to_v[:, :, pair[1]] += weight.view(flat).mT @ grad_tile
    change = (grad_tile @ v_tile.mT).view(weight.shape).sub_(delta).mul_(weight)
    if bias is not None:
        learn.take(bias, change)
    change = change.mul_(walk.factor).view(flat)
    to_q[:, :, pair[0]] += (change @ k_tile).view(len(q), heads, -1, q.shape[3])
    to_k[:, :, pair[1]] += change.mT @ q_tile


@dataclass
class _Learn:
    """Gradients of what a bias is made of, summed over tiles."""

    learned: Sequence[Tensor]

    def __post_init__(self) -> None:
        self.found: list[Tensor | None] = [None] * len(self.learned)

    def take(self, bias: Tensor, change: Tensor) -> None:
        """``change`` is the gradient of the scores to which ``bias`` was added."""
        if not bias.requires_grad:
            return
        change = change.sum_to_size(bias.shape).to(bias.dtype)
        parts = torch.autograd.grad(bias, list(self.learned), change, allow_unused=True)
        for at, part in enumerate(parts):
            if part is not None:
                before = self.found[at]
                self.found[at] = part if before is None else before + part
