"""Dynamic NTK: the base is stretched as far as the text at hand asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import Layout
from . import SCALINGS, Scaling, above_zero, plain


@SCALINGS.add("dynamic")
class Dynamic(Scaling):
    """Leaves texts within the ``original`` length alone and raises the base for a longer one by its own length.

    θ'_i = θ_i · a^(-2i / (D - 2)),  a = max(1, factor · L / original - (factor - 1)), gain 1;  L is one more than the
    furthest position of the token's document in this call: the base becomes base · a^(D / (D - 2)).
    Keys in a cache stay turned as the call that made them turned them, so beyond ``original`` cached is not whole;
    transformers does the same, but takes L from the longest row of a batch, and keeps it until a short call comes.
    Raises: ConfigError if factor or original is not above 0.
    Source: emozilla 2023, "Dynamically Scaled RoPE", in Peng et al. 2023, arXiv:2309.00071, §3.3.
    Truth:  tests/truth/test_rope_scalings.py (transformers' values at lengths; its logits, also from a cache).
    """

    def __init__(self, *, factor: float, original: int = 2048) -> None:
        above_zero(factor=factor, original=original)
        self.factor, self.original = factor, original

    def frequencies(self, size: int, base: float) -> tuple[Tensor, float]:
        return plain(size, base), 1.0

    def reached(self, waves: Tensor, layout: Layout) -> Tensor:
        grown = (_lengths(layout).to(waves.dtype) / self.original - 1).clamp_(min=0) * self.factor + 1  # (B, T)
        exponent = torch.linspace(0, 1, len(waves), device=waves.device, dtype=waves.dtype)  # 2i / (D - 2)
        return waves * grown[..., None, None] ** -exponent


def _lengths(layout: Layout) -> Tensor:
    """One more than the furthest position of each token's document, without asking the device.  (B, T)."""
    position, segment = layout.position, layout.segment
    if layout.plain:
        return position[:1].amax(-1, keepdim=True) + 1
    run = torch.zeros_like(segment)
    run[:, 1:] = (segment[:, 1:] != segment[:, :-1]).cumsum(-1)
    furthest = torch.zeros_like(position).scatter_reduce_(1, run, position, "amax", include_self=False)
    return furthest.gather(1, run) + 1
