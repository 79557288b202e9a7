"""What every model answers: hidden states and logits, in two calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .caches import CACHES, KvCache
from .dims import Dims
from .layout import Layout, Memory


class Model(nn.Module, ABC):
    """Tokens to hidden states to logits; ``recompute`` trades time for memory block by block, with equal gradients."""

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

    recompute: bool = False

    @abstractmethod
    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → (B, T, M); without a layout every row is one document."""

    @property
    def begin(self) -> int | None:
        """The token that answers begin with where an encoder reads the prompt; None where prompts are gone on with."""
        return None

    def read(self, tokens: Tensor, layout: Layout) -> Memory:
        """What an encoder keeps of a prompt for its decoder to look at."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder")

    def cache(self, name: str, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> KvCache:
        """Room for what ``rows`` sequences of at most ``capacity`` tokens leave behind for later calls."""
        return CACHES[name](self.dims, rows, capacity, dtype=dtype, device=device)

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → logits (B, T, V)."""
        return self.head(self.hidden(tokens, layout))
