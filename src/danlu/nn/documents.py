"""Attention of packed rows, one document at a time: no work and no memory between documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, ops
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_attend: Any = ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward: Any = ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, eq=False)
class Piece:
    """A document's place among all tokens laid end to end, and who sees whom in it: causal, a mask (T, S), or all.

    ``keys`` is the place of its keys, where they lie otherwise than queries; ``open`` that of keys before them which
    all of its queries see.
    """

    place: slice
    causal: bool
    mask: Tensor | None
    keys: slice
    open: slice

    @property
    def idle(self) -> int:
        """So many queries that nobody asks stand before the others, to make all keys before them their past."""
        return self.open.stop - self.open.start if self.causal else 0

    def asked(self, x: Tensor) -> Tensor:
        """(N, H, D) → the document's (1, H, idle + T, D), zeros where idle."""
        return F.pad(x[self.place].transpose(0, 1)[None], (0, 0, self.idle, 0))

    def answered(self, whole: Tensor, part: Tensor) -> None:
        """Writes (1, H, idle + T, D) to its place."""
        whole[self.place] = part[0, :, self.idle :].transpose(0, 1)

    def seen(self, x: Tensor) -> Tensor:
        """(S, K, D) → the document's (1, K, open + T, D)."""
        own = x[self.keys]
        both = torch.cat([x[self.open], own]) if self.open.stop > self.open.start else own
        return both.transpose(0, 1)[None]

    def learned(self, whole: Tensor, part: Tensor) -> None:
        """Gradients of its keys (1, K, open + T, D) to their places; open keys are shared, so theirs add up."""
        part, before = part[0].transpose(0, 1), self.open.stop - self.open.start
        whole[self.keys] = part[before:]
        if before:
            whole[self.open] += part[:before]


class ByDocument(Function):
    """softmax(q kᵀ · scale) v within each piece, zeros elsewhere.  q: (N, H, D); k, v: (S, K, D); on the host.

    Calls the two halves of torch's fused attention itself, so that outputs and gradients are written where they belong
    and the graph has one node, however many documents there are.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, pieces: Sequence[Piece], scale: float) -> Tensor:
        out, sums = torch.zeros_like(q), []
        for piece in pieces:
            seen, logsumexp = _attend(
                piece.asked(q), piece.seen(k), piece.seen(v), 0.0, piece.causal, attn_mask=_added(piece, q),
                scale=scale,
            )  # fmt: skip
            piece.answered(out, seen)
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
                piece.asked(grad), piece.asked(q), piece.seen(k), piece.seen(v), piece.asked(out), logsumexp, 0.0,
                piece.causal, attn_mask=_added(piece, q), scale=ctx.scale,
            )  # fmt: skip
            piece.answered(into[0], parts[0])
            piece.learned(into[1], parts[1])
            piece.learned(into[2], parts[2])
        return into[0], into[1], into[2], None, None


def _added(piece: Piece, q: Tensor) -> Tensor | None:
    """The mask as numbers to add to scores."""
    if piece.mask is None:
        return None
    return torch.zeros_like(piece.mask, dtype=q.dtype).masked_fill_(~piece.mask, -torch.inf)
