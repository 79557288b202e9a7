"""Attention written down as it is defined."""

from __future__ import annotations

import torch
from torch import Tensor

from . import KERNELS, Ask, Kernel, allowed, lift


@KERNELS.add("reference")
class Reference(Kernel):
    """Holds all scores at once and serves every position, mask and cache; the others are measured against it.

    out = softmax(q kᵀ · factor + bias, over allowed keys) v;  scores (B, H, T, S) in float32 at least
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    Truth:  tests/truth/test_attention_kernels.py (a loop over queries and keys in Python floats).
    """

    def run(self, ask: Ask) -> Tensor:
        shared = ask.q.shape[2] // ask.keys.k.shape[2]
        k, v = (x.repeat_interleave(shared, 2) for x in (ask.keys.k, ask.keys.v))
        exact = torch.promote_types(ask.q.dtype, torch.float32)
        scores = torch.einsum("bqhd,bkhd->bhqk", ask.q.to(exact), k.to(exact)) * ask.factor
        may = allowed(ask)
        scores = ask.position.score(scores, ask.q, ask.layout, ask.keys, may)
        if (added := lift(ask)) is not None:
            scores = scores + added[:, None]
        weight = scores.masked_fill(~may[:, None], -torch.inf).softmax(-1)
        weight = weight.masked_fill(~may.any(-1)[:, None, :, None], 0.0)
        return torch.einsum("bhqk,bkhd->bqhd", weight.to(v.dtype), v)
