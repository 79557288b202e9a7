"""Torch's fused attention: no scores in memory, no work above the diagonal nor across documents."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..documents import ByDocument, Piece
from ..layout import Layout
from ..masks import Full, Mask
from ..masks.causal import Causal
from ..positions import Position
from . import KERNELS, Ask, Kernel, allowed, bias, lift

fused: Any = F.scaled_dot_product_attention


@KERNELS.add("sdpa")
class Sdpa(Kernel):
    """Calls torch's scaled_dot_product_attention, without a mask wherever the layout says that none is needed.

    Plain rows are causal by a flag, a single new token looks at all keys, packed rows on the host are served one
    document at a time, each with the keys that are open to all; everything else gets a mask of booleans, made once a
    call, or one of numbers where positions or queries add to scores.
    Source: Dao et al. 2022, arXiv:2205.14135, algorithm 1 (the algorithm behind torch's kernel).
    Truth:  tests/truth/test_attention_kernels.py (a loop over queries and keys in Python floats).
    """

    def excludes(self, position: Position, mask: Mask) -> str | None:
        return "the position encoding changes scores, which it never shows" if position.touches_scores else None

    def run(self, ask: Ask) -> Tensor:
        queries, keys = ask.q.shape[1], ask.keys.k.shape[1]
        layout = ask.layout
        if ask.position.biased or ask.keys.lift is not None:
            return _fused(ask, _scored(ask).to(ask.q.dtype), False) * allowed(ask).any(-1)[..., None, None]
        fresh = queries + ask.keys.open == keys  # no keys of earlier calls
        if fresh and layout.spans and not layout.plain and ask.q.device.type == "cpu":
            return _by_document(ask)
        if fresh and ask.keys.open and layout.plain and queries > 1 and ask.mask.within(queries) == _CAUSAL:
            return _after_open(ask)
        mask, causal = _mask(ask, queries, keys)
        if mask is None or ask.q.device.type in ZERO_IF_BLIND:
            return _fused(ask, mask, causal)
        seeing = mask.any(-1, keepdim=True)  # (B, 1, T, 1)
        return _fused(ask, mask | ~seeing, causal) * seeing.transpose(1, 2)


ZERO_IF_BLIND = frozenset({"cpu"})
"""Devices whose kernel answers zeros, and not NaN, to a query that may look at nothing."""


def _fused(ask: Ask, mask: Tensor | None, causal: bool) -> Tensor:
    if ask.q.shape[1] == 1:
        return _one_query(ask, mask)
    q, k, v = ask.q.transpose(1, 2), ask.keys.k.transpose(1, 2), ask.keys.v.transpose(1, 2)
    out = fused(q, k, v, attn_mask=mask, is_causal=causal, scale=ask.factor, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2)


def _after_open(ask: Ask) -> Tensor:
    """Queries that nobody asks stand before the others, so that open keys are the past of all and a flag is enough."""
    idle = ask.q.new_zeros(len(ask.q), ask.keys.open, *ask.q.shape[2:])
    return _fused(ask._replace(q=torch.cat([idle, ask.q], 1)), None, True)[:, ask.keys.open :]


def _scored(ask: Ask) -> Tensor:
    """What is added to scores: by the position, by queries that lift keys, and -inf where nothing may be seen."""
    added = lift(ask)
    if added is None:
        return bias(ask)
    if ask.position.biased:
        return bias(ask) + added[:, None]
    return added.masked_fill(~allowed(ask), -torch.inf)[:, None]  # (B, 1, T, S)


def _one_query(ask: Ask, mask: Tensor | None) -> Tensor:
    """Decoding: the heads that share keys become the queries of one head, which reads its keys once."""
    k, v = ask.keys.k.transpose(1, 2), ask.keys.v.transpose(1, 2)  # (B, K, S, D)
    q = ask.q.reshape(len(k), k.shape[1], -1, k.shape[3])  # (B, K, H / K, D)
    if mask is not None and mask.shape[1] > 1:  # a bias of each head: (B, H, 1, S)
        mask = mask.reshape(len(mask), k.shape[1], -1, mask.shape[-1])
    return fused(q, k, v, attn_mask=mask, scale=ask.factor).reshape(ask.q.shape)


def _mask(ask: Ask, queries: int, keys: int) -> tuple[Tensor | None, bool]:
    """The mask (B, 1, T, S) if one must be shown, and whether the causal flag does."""
    if ask.layout.plain:
        mask = ask.mask.within(keys - ask.keys.open)
        if mask == _CAUSAL and queries in (1, keys):
            return None, queries > 1
        if mask == _FULL:
            return None, False
    return allowed(ask)[:, None], False


def _by_document(ask: Ask) -> Tensor:
    """Each document by itself; what lies between documents is padding and answers zeros."""
    shared = ask.keys.open
    pieces = ask.layout.once(("pieces", ask.mask, shared), (), lambda: _pieces(ask.layout, ask.mask, shared))
    q, k, v = (x.flatten(0, 1) for x in (ask.q, ask.keys.k, ask.keys.v))
    return ByDocument.apply(q, k.to(q.dtype), v.to(q.dtype), pieces, ask.factor).view(ask.q.shape)


def _pieces(layout: Layout, mask: Mask, before: int) -> list[Piece]:
    """Every document of rows laid end to end, with the simplest mask that serves its length.

    Before the keys of each row lie ``before`` ones that are open to all, then those of virtual tokens, which stand
    right before every document.
    """
    width, virtual = layout.segment.shape[1], layout.shared
    rows = range(len(layout.segment)) if virtual else ()
    spans = [(row, 0, virtual, 0) for row in rows] + [(*span, virtual) for span in layout.spans or ()]
    pieces = []
    for row, start, stop, more in spans:
        length = more + stop - start
        within = mask.within(length)
        at, shown = torch.arange(length) + layout.first - virtual, within not in (_CAUSAL, _FULL)
        table = F.pad(within.allows(at[more:, None], at), (before, 0), value=True) if shown else None
        here, there = row * width, row * (before + width)  # where the row's queries and keys begin
        own, keys = slice(here + start, here + stop), slice(there + before + start, there + before + stop)
        pieces.append(Piece(own, within == _CAUSAL, table, keys, slice(there, there + before + more)))
    return pieces


_CAUSAL, _FULL = Causal(), Full()
