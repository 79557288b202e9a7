"""A stack of wired blocks over tokens: every encoder and decoder is this class with another recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nn.again import again, keeping_narrow
from ...nn.attention import Attention, CrossAttention
from ...nn.ffns import FFNS
from ...nn.heads import HEADS
from ...nn.kernels import KERNELS
from ...nn.layout import Layout
from ...nn.linear import Embedding, Linear
from ...nn.masks import MASKS
from ...nn.model import Model
from ...nn.norms import NORMS
from ...nn.poolers import POOLERS
from ...nn.positions import POSITIONS
from ...nn.remade import keeping, kept
from ...nn.sites import Site, bare, unadapted
from ...nn.wirings import WIRINGS
from ..notes import Notes
from ..recipe import Recipe
from . import MODELS


@MODELS.add("stack")
class Stack(Model):
    """Embeds tokens, sends them through blocks of attention and feed-forward, and scores tokens.

    Parameters are zero until they are drawn (``build``) or read (``load``).
    Raises: ConfigError if a part of the recipe does not exist or does not fit.
    Source: Vaswani et al. 2017, arXiv:1706.03762, fig. 1 (one side of it); Radford et al. 2018 (the decoder alone).
    Truth:  tests/truth/test_decoder.py (the sum of parts by hand; counts of parameters in closed form).
    """

    reads: ClassVar[type[Recipe]] = Recipe

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        dims = recipe.dims
        self.recipe, self.dims, self.notes = recipe, dims, Notes()
        inner = replace(dims, model=recipe.embed, head=dims.head) if recipe.embed else dims
        self.embed = Embedding(dims.vocab, inner.model, axes=("vocab", "model"))
        self.types = Embedding(recipe.token_types, inner.model, axes=("type", "model")) if recipe.token_types else None
        self.embed_norm = recipe.embed_norm.build(NORMS, inner.model, where="embed_norm") if recipe.embed_norm else None
        self.widen = Linear(dims.model, inner.model, axes=("model", "embed"), bias=True) if recipe.embed else None
        self.inputs = Site()  # site "embed": adapters that change or lengthen what comes in
        self.position = recipe.position.build(POSITIONS, inner, where="position")
        kernels = [kernel.build(KERNELS, where="kernels") for kernel in recipe.kernels]
        self.blocks = nn.ModuleList([self._block(layer, kernels) for layer in range(dims.layers)])
        layers = [module for module in self.blocks.modules() if isinstance(module, Attention)]
        self.whole_bias = self.position.biased and any(layer.kernels[0].whole for layer in layers)
        wiring = type(self.blocks[0])
        self.norm = self._norm() if wiring.final_norm else nn.Identity()  # type: ignore[union-attr]
        self.head = recipe.head.build(HEADS, dims, inner.model, where="head") if recipe.head else nn.Identity()
        self.pooler = recipe.pooler.build(POOLERS, dims, where="pooler") if recipe.pooler else None
        classes = recipe.classes
        self.classify = Linear(classes, dims.model, axes=("class", "model"), bias=True) if classes else None
        self._tie()

    def _tie(self) -> None:
        if self.recipe.tied and self.recipe.head:
            unadapted(unadapted(self.head).table).weight = self.embed.weight
        for layer, block in enumerate(self.blocks):
            if (first := self.recipe.twin(layer)) != layer:
                _share(self.blocks[first], block)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Moving a model to another device makes new parameters: tied ones stay one."""
        super()._apply(fn, recurse)
        self._tie()
        return self

    @property
    def limit(self) -> int | None:
        known = self.position.limit
        return None if known is None else known - sum(adapter.shift for adapter in self.inputs.acting())

    @property
    def ahead(self) -> bool:
        return any(spec.build(MASKS, where="masks").ahead for spec in self.recipe.masks)

    @cached_property
    def foresees(self) -> bool:  # type: ignore[override]
        return any(spec.build(MASKS, where="masks").foresees for spec in self.recipe.masks)

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        hidden, layout = self.whole(tokens, layout or Layout.dense(tokens))
        if layout.places is not None:
            return hidden.gather(1, layout.places[..., None].expand(-1, -1, hidden.shape[-1]))
        return hidden if hidden.shape[1] == tokens.shape[1] else hidden[:, -tokens.shape[1] :]

    def whole(self, tokens: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Hidden states of tokens and of what adapters put before them, and where these sit.  (B, extra + T, M)."""
        x = self.embedded(tokens)
        for adapter in self.inputs.acting():
            x, layout = adapter(tokens, x, layout)
        return self.through(x, layout), layout

    @property
    def extra(self) -> int:
        return sum(adapter.extra for adapter in self.inputs.acting())

    @property
    def undivided(self) -> bool:
        return any(adapter.undivided for adapter in self.inputs.acting())

    @property
    def classes(self) -> int:
        return self.recipe.classes

    def classified(self, hidden: Tensor, segment: Tensor) -> Tensor:
        if self.pooler is None or self.classify is None:
            return super().classified(hidden, segment)
        return self.classify(self.pooler(hidden, segment))

    def through(self, x: Tensor, layout: Layout) -> Tensor:
        """Token vectors to hidden states: all of the stack but the look-up.  x: (B, T, E)."""
        x, layout = self._entering(x, layout)
        run = RUNS[self.recompute] if torch.is_grad_enabled() else _run
        if self.whole_bias and layout.cache is None:
            self.position.bias_of(layout, layout)  # made outside of blocks, which may be recomputed
        for block in self.blocks:
            x = run(block, x, layout)
        x = self.norm(x)
        return x if self.recipe.hidden_scale == 1.0 else x * self.recipe.hidden_scale

    def _entering(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        recipe = self.recipe
        x = x if recipe.embed_scale == 1.0 else x * recipe.embed_scale
        if self.types is not None:
            kinds = torch.zeros_like(layout.position) if layout.token_type is None else layout.token_type
            x = x + self.types(kinds)
        x = self.position.embed(x, layout)
        x = x if self.embed_norm is None else self.embed_norm(x)
        x = F.dropout(x, recipe.dropout, self.training)
        return x if self.widen is None else self.widen(x), layout

    def _block(self, layer: int, kernels: list) -> nn.Module:
        recipe, dims = self.recipe, self.dims
        settings = {
            "bias": recipe.bias,
            "out_bias": recipe.out_bias,
            "head_norm": self._head_norm if recipe.head_norm else None,
            "scale": recipe.score_scale,
        }
        mask = recipe.mask(layer).build(MASKS, where="masks")
        sublayers: dict[str, nn.Module] = {
            "attention": Attention(dims, layer, self.position, mask, kernels, **settings)  # type: ignore[arg-type]
        }
        if recipe.cross:
            sublayers["cross"] = CrossAttention(dims, layer, kernels, **settings)
        sublayers["ffn"] = recipe.ffn.build(FFNS, dims, where="ffn")
        return recipe.wiring.build(WIRINGS, sublayers, self._norm, recipe.dropout, dims.layers, where="wiring")

    def _norm(self) -> nn.Module:
        return self.recipe.norm.build(NORMS, self.dims.model, where="norm")

    def _head_norm(self, size: int) -> nn.Module:
        assert self.recipe.head_norm
        return self.recipe.head_norm.build(NORMS, size, where="head_norm")


def _share(source: nn.Module, target: nn.Module) -> None:
    """Both modules hold the same parameters from now on; adapters keep their own."""
    for own, other in zip(bare(target), bare(source), strict=True):
        own._parameters = other._parameters


def _run(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    return block(x, layout)


def _all_kept(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """Keeps what backward needs, also what it could cheaply make again: the fastest."""
    with keeping():
        return block(x, layout)


def _recomputed(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """Keeps only what goes into the block and computes the rest again in backward."""
    return again(_whole, block, x, layout)


def _selected(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """Keeps what goes into the block, attention's answers and narrow products, and computes the rest again."""
    return again(_whole, block, x, layout, select=keeping_narrow(x.shape[-1]))


def _whole(block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    with kept():
        return block(x, layout)


RUNS = {"none": _run, False: _run, "keep": _all_kept, "ops": _selected, "blocks": _recomputed, True: _recomputed}
