"""Attention of packed rows, one document at a time: no work and no memory between documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, ops
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_attend: Any = ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward: Any = ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, eq=False)
class Piece:
    """A document's place among all tokens laid end to end, and who sees whom in it: causal, a mask (T, T), or all."""

    place: slice
    causal: bool
    mask: Tensor | None

    def of(self, x: Tensor) -> Tensor:
        """(N, H, D) → the document's (1, H, T, D)."""
        return x[self.place].transpose(0, 1)[None]


class ByDocument(Function):
    """softmax(q kᵀ · scale) v within each piece, zeros elsewhere.  q: (N, H, D); k, v: (N, K, D); on the host.

    Calls the two halves of torch's fused attention itself, so that outputs and gradients are written where they belong
    and the graph has one node, however many documents there are.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, pieces: Sequence[Piece], scale: float) -> Tensor:
        out, sums = torch.zeros_like(q), []
        for piece in pieces:
            seen, logsumexp = _attend(
                piece.of(q), piece.of(k), piece.of(v), 0.0, piece.causal, attn_mask=_added(piece, q), scale=scale,
            )  # fmt: skip
            out[piece.place] = seen[0].transpose(0, 1)
            sums.append(logsumexp)
        ctx.pieces, ctx.scale = pieces, scale
        ctx.save_for_backward(q, k, v, out, *sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        q, k, v, out, *sums = ctx.saved_tensors
        into = [torch.zeros_like(x) for x in (q, k, v)]
        for piece, logsumexp in zip(ctx.pieces, sums, strict=True):
            parts = _attend_backward(
                piece.of(grad), piece.of(q), piece.of(k), piece.of(v), piece.of(out), logsumexp, 0.0, piece.causal,
                attn_mask=_added(piece, q), scale=ctx.scale,
            )  # fmt: skip
            for whole, part in zip(into, parts, strict=True):
                whole[piece.place] = part[0].transpose(0, 1)
        return into[0], into[1], into[2], None, None


def _added(piece: Piece, q: Tensor) -> Tensor | None:
    """The mask as numbers to add to scores."""
    if piece.mask is None:
        return None
    return torch.zeros_like(piece.mask, dtype=q.dtype).masked_fill_(~piece.mask, -torch.inf)
