"""Torch's flex attention: a mask and a bias compiled into one fused kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from ..masks import Mask
from ..positions import Position
from ..tiles import meeting
from . import KERNELS, Ask, Kernel, lifted, sees

BLOCK = 128
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@KERNELS.add("flex")
class Flex(Kernel):
    """Compiles who sees whom, and what the position adds, into torch's fused kernel; skips blocks that cannot meet.

    out = softmax(q kᵀ · factor + bias, over allowed keys) v;  a mask is evaluated element by element, never stored
    Serves the types of ``devices`` alone. Compiling takes seconds for each kind of mask; on the CPU
    (``devices: [cpu]``) for each length, too, and there is no backward. A bias is shown as one table for all layers.
    Source: Dong et al. 2024, arXiv:2412.05496, §3 (mask and score modifications; block masks).
    Truth:  tests/truth/test_kernel_flex.py (compiled on the CPU against the reference; every refusal).
    """

    def __init__(self, *, devices: Sequence[str] = ("cuda",)) -> None:
        self.devices = tuple(devices)

    def excludes(self, position: Position, mask: Mask) -> str | None:
        if position.touches_scores:
            return "the position encoding needs the scores of all keys at once, and flex attention shows one at a time"
        return None

    def refuses(self, ask: Ask) -> str | None:
        return self.excludes(ask.position, ask.mask) or lifted(ask) or self._place(ask) or _learning(ask)

    def _place(self, ask: Ask) -> str | None:
        kind, dtype = ask.q.device.type, ask.q.dtype
        if kind not in self.devices:
            return f"it is compiled for {', '.join(self.devices) or 'no device'}, and these tensors lie on {kind}"
        if dtype not in FLOATS or {ask.keys.k.dtype, ask.keys.v.dtype} != {dtype}:
            return f"it takes queries, keys and values of one of {', '.join(map(str, FLOATS))}, found {dtype}"
        if kind == "cpu" and ask.q.shape[1] != ask.keys.k.shape[1]:
            return "torch 2.13 compiles it wrongly for the CPU where queries and keys differ in number"
        if kind == "cuda" and ask.q.shape[-1] < 16:
            return f"on CUDA a head has at least 16 numbers, found {ask.q.shape[-1]}"
        return None

    def run(self, ask: Ask) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (ask.q, ask.keys.k, ask.keys.v))
        if not torch.is_grad_enabled():
            q, k, v = q.detach(), k.detach(), v.detach()  # torch asks the tensors, not the mode
        given = (ask.keys.turn, ask.keys.segment)
        blocks = ask.layout.once(("blocks", ask.mask), given, lambda: _blocks(ask))
        table = ask.position.bias_of(ask.layout, ask.keys).float().contiguous() if ask.position.biased else None
        run, shared = _flex(ask.q.device.type == "cpu"), q.shape[1] != k.shape[1]
        return run(q, k, v, _adds(table), block_mask=blocks, scale=ask.factor, enable_gqa=shared).transpose(1, 2)


def _blocks(ask: Ask) -> BlockMask:
    """Which blocks may meet, and who sees whom in them."""
    mask, layout, keys = ask.mask, ask.layout, ask.keys
    sides = (layout.turn, layout.segment, keys.turn, keys.segment)
    q_turn, q_document, k_turn, k_document = (x.contiguous() for x in sides)  # torch compiles no expanded ones

    def looks(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return sees(mask, q_turn[b, i], q_document[b, i], k_turn[b, j], k_document[b, j])

    meets = meeting(layout, keys, mask, BLOCK, BLOCK)[:, None].int()  # (B or 1, 1, T / BLOCK, S / BLOCK)
    first = meets.argsort(dim=-1, descending=True, stable=True).int()
    counts, first = (x.to(ask.q.device) for x in (meets.sum(-1, dtype=torch.int32), first))
    lengths = (q_turn.shape[1], k_turn.shape[1])
    return BlockMask.from_kv_blocks(counts, first, BLOCK_SIZE=BLOCK, mask_mod=looks, seq_lengths=lengths)


def _adds(table: Tensor | None) -> Callable[..., Tensor] | None:
    """(B or 1, H, T, S) → what flex attention does with each score."""
    if table is None:
        return None
    if len(table) == 1:
        one = table[0]
        return lambda score, b, h, i, j: score + one[h, i, j]
    return lambda score, b, h, i, j: score + table[b, h, i, j]


def _learning(ask: Ask) -> str | None:
    if not torch.is_grad_enabled():
        return None
    if ask.q.device.type == "cpu" and any(x.requires_grad for x in (ask.q, ask.keys.k, ask.keys.v)):
        return "torch's flex attention has no backward on the CPU"
    if ask.position.biased and any(p.requires_grad for p in ask.position.parameters()):
        return "the position's bias is learned, and a table that it reads gets no gradient"
    return None


@functools.cache
def _flex(fixed: bool) -> Callable[..., Any]:
    """Compiled when it is first asked; for each length anew where ``fixed``, as torch 2.13 must on the CPU."""
    return torch.compile(flex_attention, dynamic=False if fixed else None)
