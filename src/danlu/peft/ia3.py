"""Infused adapter by inhibiting and amplifying inner activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Delta
from . import ADAPTERS, Adapter
from .deltas import hang
from .targets import Pattern, targets


class ScaledOutput(Delta):
    """l ∘ y,  l: (out,), 1 at the start."""

    def __init__(self, base: Map, place: str) -> None:
        super().__init__(base)
        self.scale = nn.Parameter(torch.ones(base.out_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y * self.scale.to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        longer = None if bias is None else (self.scale * bias).to(bias.dtype)
        return (self.scale[:, None] * weight).to(weight.dtype), longer


class ScaledInput(Delta):
    """W (l ∘ x) + b,  l: (in,), 1 at the start."""

    def __init__(self, base: Map, place: str) -> None:
        super().__init__(base)
        self.scale = nn.Parameter(torch.ones(base.in_features))

    def reads(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x.dtype)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (weight * self.scale).to(weight.dtype), bias


@ADAPTERS.add("ia3")
class Ia3(Adapter):
    """Stretches keys, values and what is inside feed-forwards, each number by its own factor.

    k = l_k ∘ (W_k x + b_k),  v = l_v ∘ (W_v x + b_v),  ffn = W_down (l_ff ∘ inner) + b_down;  l = 1 at the start.
    ``outputs`` names the maps whose answers are stretched, ``inputs`` those that read stretched; one may be [].

    Trains out or in numbers a map.
    Raises: ConfigError if no map is named like ``outputs`` or ``inputs``.
    Source: Liu et al. 2022, arXiv:2205.05638, §3.3.
    Truth:  tests/truth/test_peft_linear_ia3.py (the formulas in float64); tests/parity/test_peft_ia3.py (logits and
    gradients of peft's IA3 with the same numbers).
    """

    merges = True

    def __init__(self, *, outputs: Pattern = "blocks.*.{k,v}", inputs: Pattern = "blocks.*.ffn.down") -> None:
        self.outputs, self.inputs = outputs, inputs

    def place(self, model: Model, name: str) -> None:
        kinds = {ScaledOutput: self.outputs, ScaledInput: self.inputs}
        asked = {make: pattern for make, pattern in kinds.items() if pattern} or kinds
        for pattern in asked.values():
            targets(model, pattern)  # refuses what is not there before anything is hung
        for make, pattern in asked.items():
            hang(model, name, pattern, make)
