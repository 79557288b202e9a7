"""What every model answers: hidden states and logits, in two calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from .dims import Dims
from .layout import Layout


class Model(nn.Module, ABC):
    """Tokens to hidden states to logits; ``recompute`` trades time for memory block by block, with equal gradients."""

    dims: Dims
    recipe: Any
    head: nn.Module
    """Hidden states (…, M) to logits (…, V); rewards, embeddings and chunked losses call it, or not, by themselves."""

    recompute: bool = False

    @abstractmethod
    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → (B, T, M); without a layout every row is one document."""

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """tokens: (B, T) → logits (B, T, V)."""
        return self.head(self.hidden(tokens, layout))
