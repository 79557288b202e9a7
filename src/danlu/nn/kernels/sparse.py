"""Attention that gathers the tiles of keys which a mask leaves, and touches no others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError
from ..layout import Keys, Layout
from ..masks import Mask
from ..positions import Position
from ..remade import recomputing
from ..tiles import meeting
from . import KERNELS, Ask, Kernel, lifted
from .sdpa import Sdpa


@KERNELS.add("sparse")
class Sparse(Kernel):
    """Lays beside each ``tile`` of queries the tiles of keys that it may look at, and sends these short rows to sdpa.

    cost = queries · (keys in tiles that are not empty): N · window, and nothing between documents
    Tiles of queries with about as many tiles of keys go together, the shorter filled up with what nobody sees, at most
    twice. Keys are copied once for each tile of queries that sees them; a bias is asked for these pairs alone.
    Raises: ConfigError if tile is below 1.
    Source: Child et al. 2019, arXiv:1904.10509, §5.5 (block-sparse kernels); Zaheer et al. 2020, arXiv:2007.14062,
    appendix D (gathered blocks of keys).
    Truth:  tests/truth/test_kernel_sparse.py (the reference in float64; torch's count of operations grows with N).
    """

    whole = False

    def __init__(self, *, tile: int = 64) -> None:
        if tile < 1:
            raise ConfigError(f"a tile is at least 1 token, found {tile}")
        self.tile, self.inner = tile, Sdpa()

    def excludes(self, position: Position, mask: Mask) -> str | None:
        return self.inner.excludes(position, mask)

    def refuses(self, ask: Ask) -> str | None:
        return self.excludes(ask.position, ask.mask) or lifted(ask)

    def run(self, ask: Ask) -> Tensor:
        layout, keys, tile = ask.layout, ask.keys, min(self.tile, ask.q.shape[1])
        given = (layout.turn, keys.turn, keys.segment)
        groups = layout.once(("gathered", ask.mask, tile, self.tile), given, lambda: _groups(ask, tile, self.tile))
        q, k, v = _cut(ask.q, tile), _cut(keys.k, self.tile), _cut(keys.v, self.tile)
        answers = []
        for group in groups:
            where = replace(group.layout) if recomputing() else group.layout  # a recomputed block shares no bias
            beside = replace(group.keys, k=group.gather(k), v=group.gather(v))
            answers.append(self.inner.run(Ask(q[group.queries], beside, where, ask.mask, ask.position, ask.factor)))
        order = torch.cat([group.queries for group in groups]).argsort()
        return torch.cat(answers)[order].view(len(ask.q), -1, *ask.q.shape[2:])[:, : ask.q.shape[1]]


@dataclass(frozen=True, eq=False)
class _Group:
    """Tiles of queries that see about as many tiles of keys, both counted through all rows.

    queries: (I,) their numbers; tiles: (I, W) those of the keys beside each; layout, keys (without k and v) of I rows.
    """

    queries: Tensor
    tiles: Tensor
    layout: Layout
    keys: Keys

    def gather(self, x: Tensor) -> Tensor:
        """(all tiles, s, …) → (I, W · s, …)."""
        return x[self.tiles].flatten(1, 2)


def _groups(ask: Ask, q_tile: int, k_tile: int) -> list[_Group]:
    meets = meeting(ask.layout, ask.keys, ask.mask, q_tile, k_tile)
    meets = meets.expand(len(ask.q), *meets.shape[1:])
    first = meets.int().argsort(dim=-1, descending=True, stable=True)  # tiles that meet, in order, then the others
    first = (first + torch.arange(len(first))[:, None, None] * meets.shape[2]).flatten(0, 1)
    counts = meets.sum(-1).flatten()
    doublings = counts.clamp(min=1).log2().ceil()
    groups = []
    for some in doublings.unique():
        queries = (doublings == some).nonzero()[:, 0]
        wide = int(counts[queries].max().clamp(min=1))
        filled = torch.arange(wide) < counts[queries, None]
        groups.append(_group(ask, q_tile, k_tile, queries, first[queries, :wide], filled))
    return groups


def _group(ask: Ask, q_tile: int, k_tile: int, queries: Tensor, tiles: Tensor, filled: Tensor) -> _Group:
    """``filled`` (I, W) tells a tile of keys that is seen from one that only fills the row."""
    queries, tiles, filled = (x.to(ask.q.device) for x in (queries, tiles, filled))
    order = None if ask.layout.order is None else _cut(ask.layout.order, q_tile)[queries]
    at, document = (_cut(x, q_tile)[queries] for x in (ask.layout.position, ask.layout.segment))
    layout = Layout(at, document, order=order)
    order = None if ask.keys.order is None else _cut(ask.keys.order, k_tile)[tiles].flatten(1)
    at, document = (_cut(x, k_tile)[tiles] for x in (ask.keys.position, ask.keys.segment))
    document = document.masked_fill(~filled[..., None], 0)
    empty = ask.keys.k[:0]
    return _Group(queries, tiles, layout, Keys(empty, empty, at.flatten(1), document.flatten(1), order))


def _cut(x: Tensor, tile: int) -> Tensor:
    """(B, N, …) → (B · N / tile, tile, …), zeros after each row's end."""
    short = -x.shape[1] % tile
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, short)).unflatten(1, (-1, tile)).flatten(0, 1)
