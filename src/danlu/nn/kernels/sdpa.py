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
from . import KERNELS, Ask, Kernel, allowed, bias

fused: Any = F.scaled_dot_product_attention


@KERNELS.add("sdpa")
class Sdpa(Kernel):
    """Calls torch's scaled_dot_product_attention, without a mask wherever the layout says that none is needed.

    Plain rows are causal by a flag, a single new token looks at all keys, packed rows on the host are served one
    document at a time; everything else gets a mask of booleans, made once a call.
    Source: Dao et al. 2022, arXiv:2205.14135, algorithm 1 (the algorithm behind torch's kernel).
    Truth:  tests/truth/test_attention_kernels.py (a loop over queries and keys in Python floats).
    """

    def excludes(self, position: Position, mask: Mask) -> str | None:
        return "the position encoding changes scores, which it never shows" if position.touches_scores else None

    def run(self, ask: Ask) -> Tensor:
        queries, keys = ask.q.shape[1], ask.keys.k.shape[1]
        layout = ask.layout
        if ask.position.biased:
            return _fused(ask, bias(ask).to(ask.q.dtype), False) * allowed(ask).any(-1)[..., None, None]
        if queries == keys and layout.spans and not layout.plain and ask.q.device.type == "cpu":
            return _by_document(ask)
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
        mask = ask.mask.within(keys)
        if mask == _CAUSAL and queries in (1, keys):
            return None, queries > 1
        if mask == _FULL:
            return None, False
    return allowed(ask)[:, None], False


def _by_document(ask: Ask) -> Tensor:
    """Each document by itself; what lies between documents is padding and answers zeros."""
    pieces = ask.layout.once(("pieces", ask.mask), (), lambda: _pieces(ask.layout, ask.mask))
    q, k, v = (x.flatten(0, 1) for x in (ask.q, ask.keys.k, ask.keys.v))
    return ByDocument.apply(q, k.to(q.dtype), v.to(q.dtype), pieces, ask.factor).view(ask.q.shape)


def _pieces(layout: Layout, mask: Mask) -> list[Piece]:
    """Every document of rows laid end to end, with the simplest mask that serves its length."""
    width, pieces = layout.segment.shape[1], []
    for row, start, stop in layout.spans or ():
        within = mask.within(stop - start)
        at, shown = torch.arange(stop - start), within not in (_CAUSAL, _FULL)
        table = within.allows(at[:, None], at) if shown else None
        pieces.append(Piece(slice(row * width + start, row * width + stop), within == _CAUSAL, table))
    return pieces


_CAUSAL, _FULL = Causal(), Full()
