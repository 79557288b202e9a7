"""The parts of a model as the native step knows them, or the reason why it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn

from ..nn import native
from ..nn.activation import GELU, GELU_TANH, RELU, SILU
from ..nn.ffns import GatedFfn
from ..nn.ffns.gelu import Gelu
from ..nn.ffns.relu import Relu
from ..nn.ffns.swish import Swish
from ..nn.linear import Map
from ..nn.masks import Both, Mask
from ..nn.masks.causal import Causal
from ..nn.masks.window import Window
from ..nn.native.calls import CMatrix, CNorm, address
from ..nn.native.products import structure
from ..nn.norms.layer import LayerNorm
from ..nn.norms.rms import RmsNorm
from ..nn.sites import unadapted

RMS, LAYER = range(2)
ACTIVATIONS = {SILU: 0, GELU: 1, GELU_TANH: 2, RELU: 3}
WHOLE = 0
"""The window of a layer that sees all keys."""


class Refused(Exception):
    """Why a model is left to torch."""


class Kept:
    """Tensors that the C side reads: they live as long as this does."""

    def __init__(self, *, rounded: bool) -> None:
        self.rounded, self.tensors, self.integers = rounded, list[Tensor](), 0
        self.bytes_ = 0  # of weights, which a token reads once

    def numbers(self, tensor: Tensor | None) -> int | None:
        """The address of numbers in fp32: themselves, or a copy."""
        if tensor is None:
            return None
        self.tensors.append(tensor.detach().float().contiguous())
        return address(self.tensors[-1])

    def map(self, part: nn.Module) -> CMatrix:
        """A linear map of any storage that kernels can read."""
        part = unadapted(part)
        matrix = part.matrix if isinstance(part, Map) else None
        if matrix is None:
            raise Refused(f"a {type(part).__name__} keeps weights that native kernels do not read")
        return self.matrix(matrix, cast("Map", part).bias)

    def matrix(self, matrix: native.Matrix, bias: Tensor | None = None) -> CMatrix:
        """A weight, and a bias."""
        self.bytes_ += matrix.nbytes
        self.integers += matrix.scales is not None
        if self.rounded and matrix.reading == "exact":
            matrix = replace(matrix, reading="blocks")
        self.tensors += [part for part in (matrix.data, matrix.scales, matrix.offsets) if part is not None]
        if bias is not None:
            self.tensors.append(bias.detach().float().contiguous())
        return structure(matrix, None if bias is None else self.tensors[-1])

    def norm(self, part: nn.Module) -> CNorm:
        """A normalization of a vector; none where there is an identity."""
        return norm(part, self)


@singledispatch
def norm(part: nn.Module, kept: Kept) -> CNorm:
    """What a norm is to the C side."""
    raise Refused(f"there is no native {type(part).__name__}")


@norm.register
def _(part: RmsNorm, kept: Kept) -> CNorm:
    return CNorm(RMS, part.eps, kept.numbers(part.weight), None)


@norm.register
def _(part: LayerNorm, kept: Kept) -> CNorm:
    return CNorm(LAYER, part.eps, kept.numbers(part.weight), kept.numbers(part.bias))


@norm.register
def _(part: nn.Identity, kept: Kept) -> CNorm:
    return CNorm(RMS, 0.0, None, None)


@dataclass(frozen=True)
class Feed:
    """A feed-forward: which activation, and its maps."""

    activation: int
    up: nn.Module
    down: nn.Module
    gate: nn.Module | None = None


@singledispatch
def feed(part: nn.Module) -> Feed:
    """What a feed-forward is to the C side."""
    raise Refused(f"there is no native {type(part).__name__}")


@feed.register
def _(part: GatedFfn) -> Feed:
    if type(part).forward is not GatedFfn.forward:
        raise Refused(f"there is no native {type(part).__name__}")
    return Feed(ACTIVATIONS[part.activation], part.up, part.down, part.gate)


@feed.register
def _(part: Gelu) -> Feed:
    return Feed(ACTIVATIONS[part.activation], part.up, part.down)


@feed.register
def _(part: Relu) -> Feed:
    return Feed(ACTIVATIONS[RELU], part.up, part.down)


@feed.register
def _(part: Swish) -> Feed:
    return Feed(ACTIVATIONS[SILU], part.up, part.down)


@singledispatch
def window(mask: Mask) -> int:
    """How many of the newest keys a query sees."""
    raise Refused(f"there is no native mask {mask}")


@window.register
def _(mask: Causal) -> int:
    return WHOLE


@window.register
def _(mask: Both) -> int:
    parts = {type(mask.a): mask.a, type(mask.b): mask.b}
    size = parts.get(Window)
    if Causal not in parts or not isinstance(size, Window):
        raise Refused(f"there is no native mask {mask}")
    return size.size


def eight_bits(weight: Tensor) -> native.Matrix:
    """A full weight rounded to 8 bits with a scale an output."""
    scales = weight.detach().abs().amax(1).float().clamp(min=1e-30) / 127
    numbers = (weight.detach().float() / scales[:, None]).round_().to(torch.int8)
    return native.int8(numbers, scales)
