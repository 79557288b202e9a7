"""One token of every sequence through a whole model in one call of the native kernels."""

from __future__ import annotations

from ctypes import POINTER, byref, cast
from functools import singledispatch
from typing import Self

import torch
from torch import Tensor, nn

from ..core.errors import ShapeError
from ..models.forms.stack import Stack
from ..nn import native
from ..nn.attention import Attention
from ..nn.heads.linear import LinearHead
from ..nn.layout import Layout
from ..nn.model import Model
from ..nn.native.calls import CCall, CLayer, CStack, address
from ..nn.native.library import library
from ..nn.native.matrix import DENSE
from ..nn.positions import Position
from ..nn.positions.learned import Learned
from ..nn.positions.none import NoPosition
from ..nn.positions.rope import NEIGHBORS, Rope
from ..nn.scalings import Scaling
from ..nn.sites import unadapted
from ..nn.wirings import Wiring
from ..nn.wirings.pre import PreNorm
from .native_parts import Kept, Refused, eight_bits, feed, window

WIDTH = 32
"""Tokens up to which the kernels are the faster ones."""

POOLS = (torch.float32, torch.bfloat16)
WRONG = (
    "",
    "a token id is not in the model's vocabulary; encode with the tokenizer that belongs to the model",
    "a position lies beyond the model's context; shorten the input",
    "a sequence is empty, or its table names a block that the pool does not have",
)


class NativeStep:
    """Decodes with a model: embedding, all blocks, final norm and head for one token of each of some sequences.

    x ← x + W_o attention(norm(x));  x ← x + W_d (act(W_g norm(x)) · W_u norm(x));  logits = W_h norm(x)
    Everything between weights is fp32. A token's logits are the same bits whatever tokens are beside it. Full weights
    are read in place; norms, biases and what is packed as they were when this was made.
    Source: Pope et al. 2022, arXiv:2211.05102, §3 (decoding is bound by reading weights and keys once a step).
    Truth:  tests/truth/test_native_step.py (the model itself, in float64; many wirings of parts).
    """

    width = WIDTH

    def __init__(self, model: Stack, *, rounded: bool = False) -> None:
        """Raises: Refused; ``of`` answers the reason instead."""
        _expect(model)
        self.model, self.kept = model, Kept(rounded=rounded)
        self.turns = turns(model.position)
        blocks = [_layer(block, self.kept) for block in model.blocks]
        self.layers = (CLayer * len(blocks))(*blocks)
        self.stack = self._stack()
        self.room = torch.empty(0, dtype=torch.uint8)

    @classmethod
    def of(cls, model: Model, *, rounded: bool = False) -> Self | str:
        """The step of a model, or the reason why torch has to serve it.

        ``rounded`` multiplies weights of 8 and 4 bits with numbers rounded to 8 bits in blocks of 32 channels, and
        keeps the head of a model that has such weights in 8 bits: faster, at about 0.3 % of error a product.
        """
        if (reason := native.why()) is not None:
            return reason
        if not isinstance(model, Stack):
            return f"there is no native step of a {type(model).__name__}"
        try:
            return cls(model, rounded=rounded)
        except Refused as refused:
            return str(refused)

    @property
    def bytes_(self) -> int:
        """Of weights that a step reads: at the speed of memory, what it costs at least."""
        return self.kept.bytes_

    @torch.inference_mode()
    def __call__(
        self, tokens: Tensor, positions: Tensor, tables: Tensor, lengths: Tensor, k: Tensor, v: Tensor, size: int
    ) -> Tensor:
        """Logits (N, V) after one more token each; writes its key and value into the pool.

        tokens, positions: (N,) int64; k, v: (layers, slots, K, D) fp32 or bf16; tables: (N, blocks) int32 of blocks of
        ``size`` slots; lengths: (N,) int32, keys of the sequence with this token, which is the last of them. Several
        tokens of a sequence may go at once: every key is written before one is read.
        Raises: ShapeError for a token, a position or a block that does not exist.
        """
        rows, kernels = len(tokens), library()
        if k.dtype not in POOLS or not (k.is_contiguous() and v.is_contiguous()):
            raise ShapeError(f"native attention reads contiguous pools of fp32 or bf16, found {k.dtype}")
        tables, lengths, turned = tables.contiguous(), lengths.contiguous(), self.turns.at(positions)
        logits = torch.empty(rows, self.stack.vocab)
        sizes = rows, torch.get_num_threads(), size, tables.shape[1], int(k.dtype == torch.bfloat16)
        read = map(address, (tokens, positions, tables, lengths, turned, k, v))
        call = CCall(*sizes, *read, k.shape[1], address(logits), None)
        needed = kernels.step_bytes(byref(self.stack), byref(call))
        if needed > len(self.room):
            self.room = torch.empty(needed, dtype=torch.uint8)
        call.room = address(self.room)
        if wrong := kernels.step(byref(self.stack), byref(call)):
            raise ShapeError(WRONG[wrong])
        return logits

    def _stack(self) -> CStack:
        model, kept, dims = self.model, self.kept, self.model.dims
        head = unadapted(model.head)
        integers = kept.rounded and kept.integers > 0
        scores = kept.matrix(eight_bits(head.weight), head.bias) if integers else kept.map(head)
        table = model.embed.weight.detach()
        places = self.turns.places
        kept.tensors += [table, *([] if places is None else [places])]
        sizes = dims.layers, dims.model, dims.heads, dims.kv_heads, dims.head, dims.ffn, scores.out
        activation = feed(_sublayers(model.blocks[0])[1]).activation
        narrow = DENSE[table.dtype] == "bf16"
        contexts = 0 if places is None else len(places)
        turned = 2 * self.turns.pairs, int(self.turns.neighbors), int(narrow), contexts
        scales = model.recipe.embed_scale, model.recipe.hidden_scale
        first = cast(self.layers, POINTER(CLayer))
        return CStack(
            *sizes, activation, *turned, *scales, address(table), address(places), first, kept.norm(model.norm), scores
        )


class Turns:
    """How positions enter: as rotations of ``pairs`` of channels, as vectors of a table, or not at all."""

    def __init__(self, rope: Rope | None = None, places: Tensor | None = None) -> None:
        self.rope, self.places = rope, places
        self.pairs = 0 if rope is None else len(rope.waves)
        self.neighbors = rope is not None and rope.pairs is NEIGHBORS
        steady = rope is not None and type(rope.scaling).reached is Scaling.reached
        self.known = torch.empty(0, 2, self.pairs) if steady else None

    def at(self, positions: Tensor) -> Tensor | None:
        """cos and sin of each position.  (N,) → (N, 2, pairs)"""
        if self.rope is None:
            return None
        if self.known is None:
            return self._made(self.rope, positions)
        furthest = int(positions.max()) + 1
        if furthest > len(self.known):
            self.known = self._made(self.rope, torch.arange(max(furthest, 2 * len(self.known))))
        return self.known.index_select(0, positions)

    def _made(self, rope: Rope, positions: Tensor) -> Tensor:
        layout = Layout(positions[:, None], torch.ones_like(positions)[:, None])
        angle = positions.float()[:, None, None, None] * rope.scaling.reached(rope.waves, layout)  # N 1 1 pairs
        return torch.cat([angle.cos(), angle.sin()], 2).mul_(rope.gain)[:, 0].contiguous()


@singledispatch
def turns(position: Position) -> Turns:
    """What a position encoding is to the C side."""
    raise Refused(f"there are no native positions {type(position).__name__}")


@turns.register
def _(position: Rope) -> Turns:
    return Turns(rope=position)


@turns.register
def _(position: NoPosition) -> Turns:
    return Turns()


@turns.register
def _(position: Learned) -> Turns:
    return Turns(places=position.table.weight.detach()[position.offset :])


def _expect(model: Stack) -> None:
    """Raises Refused for what lies around the blocks and is not known here."""
    table = model.embed.weight
    others = {"token_types": model.types, "embed_norm": model.embed_norm, "embed": model.widen}
    if known := [name for name, part in others.items() if part is not None]:
        raise Refused(f"there is no native {known[0]}")
    if model.training or table.dtype not in DENSE or table.device.type != "cpu":
        raise Refused("native steps are for models at rest, in fp32 or bf16 on the host")
    if model.switch is not None and model.switch.active:
        raise Refused("adapters act on the model")
    if type(unadapted(model.head)) is not LinearHead:
        raise Refused(f"there is no native head {type(model.head).__name__}")


def _sublayers(block: nn.Module) -> tuple[Attention, nn.Module]:
    """Attention and feed-forward of a block."""
    if type(block) is not PreNorm or list(block.sublayers) != ["attention", "ffn"]:
        raise Refused(f"there is no native {type(block).__name__} block of {', '.join(_names(block))}")
    attention = block.sublayers["attention"]
    assert isinstance(attention, Attention)
    return attention, block.sublayers["ffn"]


def _names(block: nn.Module) -> list[str]:
    return list(block.sublayers) if isinstance(block, Wiring) else []


def _layer(block: nn.Module, kept: Kept) -> CLayer:
    attention, ffn = _sublayers(block)
    assert isinstance(block, Wiring)
    inner, layer = feed(ffn), CLayer()
    layer.attention, layer.ffn_norm = kept.norm(block.norms["attention"]), kept.norm(block.norms["ffn"])
    layer.q_norm, layer.k_norm = kept.norm(attention.q_norm), kept.norm(attention.k_norm)
    layer.q, layer.k, layer.v = kept.map(attention.q), kept.map(attention.k), kept.map(attention.v)
    layer.o, layer.up, layer.down = kept.map(attention.o), kept.map(inner.up), kept.map(inner.down)
    if inner.gate is not None:
        layer.gate = kept.map(inner.gate)
    layer.window = window(attention.mask)
    layer.scale = attention.head**-0.5 if attention.scale is None else attention.scale
    return layer
