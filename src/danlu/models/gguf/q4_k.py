"""Q4_K: weights in 4.5 bits, eight scales and offsets of 6 bits for 256 of them."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK, PART, PARTS = 256, 32, 8
TOP, TOP_SCALE = 15, 63
TRIES = [0.0, *(step / 10 - 1 for step in range(21))]
"""How many steps more than 15 the range of a part is tried with; the first is the plain range."""


def pack(weight: Tensor) -> Tensor:
    """Rows (N, 256·k) to bytes (N, 144·k) that llama.cpp reads as Q4_K.

    w ≈ d·s_p·q - m·o_p in part p of 32 weights: q of 4 bits, s_p and o_p of 6, d and m in fp16 for all eight parts.
    Scale and offset of a part have the least weighted square error among ranges a little wider and narrower than
    its own; larger weights count for more.
    """
    rows = weight.reshape(-1, weight.shape[-1]).split(max(1, AT_ONCE // weight.shape[-1]))
    return torch.cat([_packed(some) for some in rows]).reshape(*weight.shape[:-1], -1)


AT_ONCE = 1 << 20
"""Weights in the making: what bounds the memory."""


def _packed(weight: Tensor) -> Tensor:
    x = weight.float().reshape(-1, PARTS, PART)  # (N·k, 8, 32)
    scale, offset = _fitted(x)
    high = torch.stack([scale.amax(-1), offset.amax(-1)], -1).div_(TOP_SCALE).half()  # (N·k, 2): d and m
    steps = [_six_bits(part, top) for part, top in zip((scale, offset), high.float().unbind(-1), strict=True)]
    d, m = (top[:, None] * step for top, step in zip(high.float().unbind(-1), steps, strict=True))
    q = ((x + m[..., None]) / torch.where(d > 0, d, 1.0)[..., None]).round_().clamp_(0, TOP)
    q = torch.where((d > 0)[..., None], q, 0.0).to(torch.uint8).reshape(-1, PARTS // 2, 2, PART)
    nibbles = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, BLOCK // 2)
    out = torch.cat([high.view(torch.uint8), _twelve_bytes(*steps), nibbles], -1)
    return out.reshape(len(weight), -1)


def _fitted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and offsets (N, 8), neither below 0."""
    weight = x.square().mean(-1, keepdim=True).sqrt() + x.abs()
    low, high = x.amin(-1).clamp_(max=0), x.amax(-1)
    spread = high - low
    flat = spread <= 0
    best = torch.full_like(low, torch.inf)
    scale, offset = spread / TOP, -low
    for step in TRIES:
        inverse = torch.where(flat, 0.0, (TOP + step) / spread)
        q = ((x - low[..., None]) * inverse[..., None]).round_().clamp_(0, TOP)
        s, o = (scale, offset) if step == TRIES[0] else _solved(x, q, weight, low)
        error = (weight * (s[..., None] * q - o[..., None] - x).square()).sum(-1)
        better = error < best
        best, scale, offset = (torch.where(better, a, b) for a, b in ((error, best), (s, scale), (o, offset)))
    return torch.where(flat, 0.0, scale), offset


def _solved(x: Tensor, q: Tensor, weight: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and offset that bring s·q - o nearest to x: a line through weighted points."""
    total, sum_q, sum_x = weight.sum(-1), (weight * q).sum(-1), (weight * x).sum(-1)
    squares, products = (weight * q * q).sum(-1), (weight * q * x).sum(-1)
    spread = total * squares - sum_q * sum_q
    good = spread > 0
    safe = torch.where(good, spread, 1.0)
    scale = (total * products - sum_q * sum_x) / safe
    offset = -(squares * sum_x - sum_q * products) / safe
    through = torch.where(offset < 0, products / squares.clamp(min=1e-30), scale)  # no offset may be below 0
    whole = good & (through > 0)
    return torch.where(whole, through, 0.0), torch.where(whole, offset.clamp(min=0), -low)


def _six_bits(values: Tensor, top: Tensor) -> Tensor:
    """values (N, 8) in steps of top (N,), 0 … 63."""
    return (values / torch.where(top > 0, top, 1.0)[:, None]).round_().clamp_(0, TOP_SCALE)


def _twelve_bytes(scales: Tensor, offsets: Tensor) -> Tensor:
    """Sixteen numbers of 6 bits: the first four of each whole, the others half below and half on top of those."""
    s, o = scales.to(torch.uint8), offsets.to(torch.uint8)
    first = s[:, :4] | (s[:, 4:] >> 4) << 6
    second = o[:, :4] | (o[:, 4:] >> 4) << 6
    return torch.cat([first, second, s[:, 4:] & 15 | (o[:, 4:] & 15) << 4], -1)
