"""A stack of wired blocks over tokens: every decoder family is this class with another recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.errors import ShapeError
from ..nn.attention import Attention
from ..nn.ffns import FFNS
from ..nn.kernels import KERNELS
from ..nn.layout import Layout
from ..nn.linear import Embedding, Linear
from ..nn.masks import MASKS
from ..nn.model import Model
from ..nn.norms import NORMS
from ..nn.positions import POSITIONS
from ..nn.remade import kept
from ..nn.wirings import WIRINGS
from .notes import Notes
from .recipe import Recipe


class Decoder(Model):
    """Embeds tokens, sends them through blocks of attention and feed-forward, and scores the next token.

    Parameters are zero until they are drawn (``build``) or read (``load``).
    Raises: ConfigError if a part of the recipe does not exist or does not fit.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        dims = recipe.dims
        self.recipe, self.dims, self.notes = recipe, dims, Notes()
        self.embed = Embedding(dims.vocab, dims.model, axes=("vocab", "model"))
        self.inputs = nn.ModuleDict()  # site "embed": adapters that change or lengthen what comes in
        self.position = recipe.position.build(POSITIONS, dims, where="position")
        kernels = [kernel.build(KERNELS, where="kernels") for kernel in recipe.kernels]
        self.blocks = nn.ModuleList([self._block(layer, kernels) for layer in range(dims.layers)])
        wiring = type(self.blocks[0])
        self.norm = self._norm() if wiring.final_norm else nn.Identity()  # type: ignore[union-attr]
        self.head = Linear(dims.vocab, dims.model, axes=("vocab", "model"))
        self._tie()

    def _tie(self) -> None:
        if self.recipe.tied:
            self.head.weight = self.embed.weight

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Moving a model to another device makes new parameters: tied ones stay one."""
        super()._apply(fn, recurse)
        self._tie()
        return self

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        here = layout or Layout.dense(tokens)
        x = self.position.embed(self._embedded(tokens), here)
        for adapter in self.inputs.values():
            x, here = adapter(x, here)
        x = F.dropout(x, self.recipe.dropout, self.training)
        run = _recomputed if self.recompute and torch.is_grad_enabled() else _run
        for block in self.blocks:
            x = run(block, x, here)
        return self.norm(x)

    def _embedded(self, tokens: Tensor) -> Tensor:
        try:
            return self.embed(tokens)
        except IndexError:
            wrong = tokens[(tokens < 0) | (tokens >= self.embed.num_embeddings)]
            raise ShapeError(
                f"token id {int(wrong[0])} is not in the model's vocabulary of {self.embed.num_embeddings}; "
                "encode with the tokenizer that belongs to the model"
            ) from None

    def _block(self, layer: int, kernels: list) -> nn.Module:
        recipe, dims = self.recipe, self.dims
        attention = Attention(
            dims,
            layer,
            self.position,
            recipe.mask(layer).build(MASKS, where="masks"),
            kernels,
            bias=recipe.bias,
            out_bias=recipe.out_bias,
            head_norm=self._head_norm if recipe.head_norm else None,
        )
        sublayers = {"attention": attention, "ffn": recipe.ffn.build(FFNS, dims, where="ffn")}
        return recipe.wiring.build(WIRINGS, sublayers, self._norm, recipe.dropout, where="wiring")

    def _norm(self) -> nn.Module:
        return self.recipe.norm.build(NORMS, self.dims.model, where="norm")

    def _head_norm(self, size: int) -> nn.Module:
        assert self.recipe.head_norm
        return self.recipe.head_norm.build(NORMS, size, where="head_norm")


def _run(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    return block(x, layout)


def _recomputed(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """Keeps only what goes into the block and computes the rest again in backward."""
    return checkpoint(_whole, block, x, layout, use_reentrant=False)  # type: ignore[return-value]


def _whole(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    with kept():
        return block(x, layout)
