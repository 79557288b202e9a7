"""An encoder that reads and a decoder that writes, looking at what was read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ...core.errors import ConfigError, ShapeError
from ...nn.dims import Dims
from ...nn.layout import Layout, Memory
from ...nn.model import Model
from ..notes import Notes
from ..recipe import Architecture, Recipe
from . import MODELS
from .stack import Stack


@dataclass(frozen=True, kw_only=True)
class EncDecRecipe(Architecture):
    """Two stacks; ``dims`` are the decoder's. ``shared``: both have one table of tokens.

    Answers begin with the token ``begin``, which is never said.
    """

    form: ClassVar[str] = "encdec"
    encoder: Recipe
    decoder: Recipe
    shared: bool = True
    begin: int = 0

    def spoken(self, vocab: int) -> Self:
        if not self.shared:
            raise ConfigError("encoder and decoder have a vocabulary each, and only one that both share can grow")
        encoder, decoder = self.encoder.spoken(vocab), self.decoder.spoken(vocab)
        return replace(self, dims=decoder.dims, encoder=encoder, decoder=decoder)

    def __post_init__(self) -> None:
        if self.dims != self.decoder.dims:
            raise ConfigError("the dims of an encoder-decoder are those of its decoder")
        if not self.decoder.cross:
            raise ConfigError("a decoder that never looks at its encoder is a stack of its own; set decoder.cross")
        if self.encoder.dims.model != self.decoder.dims.model:
            raise ConfigError(
                f"encoder and decoder must be equally wide, found {self.encoder.dims.model} and "
                f"{self.decoder.dims.model}"
            )
        if self.shared and self.encoder.dims.vocab != self.decoder.dims.vocab:
            raise ConfigError("encoder and decoder share one table, so their vocabularies must be equally large")


@MODELS.add("encdec")
class EncDec(Model):
    """Encodes a source once and decodes a target token by token, each layer looking at all of the source.

    m = encoder(source);  p(y_t | y_<t, source) = softmax(head(decoder(y_<t, m)))
    Raises: ShapeError if a target is scored before its source was read.
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.1; Sutskever et al. 2014, arXiv:1409.3215.
    Truth:  tests/parity/test_families_t5.py (logits and gradients of transformers).
    """

    reads = EncDecRecipe

    def __init__(self, recipe: EncDecRecipe) -> None:
        super().__init__()
        self.recipe, self.dims, self.notes = recipe, recipe.dims, Notes()
        self.encoder = Stack(replace(recipe.encoder, head=None))
        self.decoder = Stack(recipe.decoder)
        self._tie()

    def _tie(self) -> None:
        if self.recipe.shared:
            self.encoder.embed.weight = self.decoder.embed.weight

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._tie()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """``recompute`` is that of both stacks."""
        super().__setattr__(name, value)
        if name == "recompute":
            self.encoder.recompute = self.decoder.recompute = value

    def adopt(self, recipe: EncDecRecipe) -> None:
        self.recipe, self.dims = recipe, recipe.dims
        self.encoder.adopt(replace(recipe.encoder, head=None))
        self.decoder.adopt(recipe.decoder)
        self._tie()

    @property
    def embed(self) -> nn.Embedding:  # type: ignore[override]
        return self.decoder.embed

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        return self.decoder.head

    @property
    def source(self) -> Dims:
        return self.encoder.dims

    def read(self, tokens: Tensor, layout: Layout) -> Memory:
        hidden, layout = self.encoder.whole(tokens, layout)
        return Memory(hidden, layout.position, layout.segment, layout.plain)

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        if layout is None or layout.memory is None:
            raise ShapeError("an encoder-decoder scores a target after a source: pass Layout(…, memory=model.read(…))")
        return self.decoder.hidden(tokens, layout)

    def translate(self, source: Tensor, target: Tensor, segment: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) of whole rows.  source: (B, S), target: (B, T); ``segment`` (B, S) is 0 where padding."""
        layout = Layout.dense(source)
        if segment is not None:
            layout = Layout.of(layout.position, segment)
        dense = Layout.dense(target)
        return self(target, replace(dense, memory=self.read(source, layout)))

    @property
    def begin(self) -> int:
        return self.recipe.begin
