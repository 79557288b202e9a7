"""What every model answers: hidden states and logits, in two calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, ShapeError
from ..core.spec import Spec
from .caches import CACHES, Kept
from .dims import Dims
from .layout import Layout, Memory
from .sites import Switch

Part = str | dict[str, Any]
"""The name of a part, or {"use": name, setting: value}."""


class Model(nn.Module, ABC):
    """Tokens to hidden states to logits.

    ``recompute`` trades time for memory block by block, with equal gradients: "keep" keeps all that backward needs,
    "none" makes norms' outputs and activations' products again, "ops" also whatever is cheap beside attention
    (``nn.again.keeping_narrow``), "blocks" everything but what goes into a block. False is "none" and True is "blocks".
    """

    reads: ClassVar[type]
    """The class of recipes that it is built from."""
    dims: Dims
    recipe: Any
    notes: Any
    """What the directory it came from says beside the architecture."""
    embed: nn.Embedding
    """The table of tokens, which a larger vocabulary lengthens."""
    head: nn.Module
    """Hidden states (…, M) to logits (…, V); rewards, embeddings and chunked losses call it, or not, by themselves."""

    recompute: str | bool = "none"
    switch: Switch | None = None
    """Which adapters act; None: none was ever attached."""

    @property
    def recomputes(self) -> bool:
        """Whether blocks are run again in backward, wholly or in part."""
        return self.recompute in (True, "blocks", "ops")

    def adopt(self, recipe: Any) -> None:
        """Is described by this recipe from now on: its tables have grown."""
        self.recipe, self.dims = recipe, recipe.dims
        self.embed.num_embeddings = recipe.dims.vocab

    @abstractmethod
    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → (B, T, M); without a layout every row is one document."""

    @property
    def limit(self) -> int | None:
        """How many tokens a row it can read, however well; None where there is no table of positions.

        Positions that adapters take are not among them.
        """
        return None

    def reach(self, tokens: int) -> int:
        """So many tokens a row, or as many as it has positions for."""
        return tokens if self.limit is None else min(tokens, self.limit)

    def embedded(self, tokens: Tensor) -> Tensor:
        """The vectors of tokens; raises ShapeError for an id that the table does not have.  (B, T) → (B, T, E)."""
        try:
            return self.embed(tokens)
        except IndexError:
            wrong = tokens[(tokens < 0) | (tokens >= self.embed.num_embeddings)]
            raise ShapeError(
                f"token id {int(wrong[0])} is not in the model's vocabulary of {self.embed.num_embeddings}; "
                "encode with the tokenizer that belongs to the model"
            ) from None

    @property
    def extra(self) -> int:
        """How many vectors adapters put before every row: room in a cache beyond that of tokens."""
        return 0

    @property
    def undivided(self) -> bool:
        """Whether an adapter wants to read the prompt of a row in one call."""
        return False

    @property
    def remembers_keys(self) -> bool:
        """Whether it goes on from keys of earlier tokens; a recurrent model keeps a state instead."""
        return True

    @property
    def begin(self) -> int | None:
        """The token that answers begin with where an encoder reads the prompt; None where prompts are gone on with."""
        return None

    @property
    def ahead(self) -> bool:
        """Whether prompts are read in both directions before they are gone on with."""
        return False

    @property
    def foresees(self) -> bool:
        """Whether a token hears those that come after it, so that what comes next is no question to it."""
        return False

    def expect_next(self) -> None:
        """Raises ConfigError for a model of which the next token cannot be asked."""
        if self.foresees:
            raise ConfigError(
                f"each token of this {self.recipe.family} hears those after it, so it can neither be asked nor be "
                "taught what comes next; train it with the objective masked, or take a model whose masks are causal"
            )

    def expect_hidden(self) -> None:
        """Raises ConfigError for a model that cannot look at what stands after a hidden token."""
        if not self.foresees:
            raise ConfigError(
                f"hidden tokens are told from both sides, and this {self.recipe.family} looks only back; use "
                "architecture: {use: bert, …} or another with mask: full, or the objective next_token"
            )

    @property
    def classes(self) -> int:
        """How many classes it scores a document by; 0 where it scores none."""
        return 0

    @property
    def source(self) -> Dims:
        """The sizes of what reads prompts: the model's own, or its encoder's."""
        return self.dims

    def read(self, tokens: Tensor, layout: Layout) -> Memory:
        """What an encoder keeps of a prompt for its decoder to look at; raises ShapeError where there is none."""
        raise ShapeError(f"this {type(self).__name__} has no encoder to read with; use an encoder-decoder such as t5")

    def classified(self, hidden: Tensor, segment: Tensor) -> Tensor:
        """Scores of classes from one document a row.  hidden: (B, T, M), segment: (B, T), 0 where padding → (B, C)."""
        raise ShapeError(
            f"this {type(self).__name__} has no pooler and classes, which tell documents apart; train one that has, "
            "for example architecture: {use: bert, …}"
        )

    def cache(self, kind: Part, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> Kept:
        """Room for what ``rows`` sequences of at most ``capacity`` tokens leave behind for later calls.

        ``kind`` is the name of a cache, or {"use": name, setting: value}.
        """
        return Spec.read(kind, "cache").build(CACHES, self.dims, rows, capacity, dtype, device, where="cache")

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → logits (B, T, V)."""
        return self.head(self.hidden(tokens, layout))
