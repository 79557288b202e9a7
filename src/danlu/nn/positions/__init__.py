"""Position encodings: one file, one encoding, which overrides the hook at which it acts."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from ...core.registry import Registry
from ..dims import Dims
from ..layout import Keys, Layout
from ..linear import Birth
from ..remade import recomputing


class Position(nn.Module, ABC):
    """Four hooks, silent by default: on embeddings, on queries and keys, and two on scores."""

    ordered: ClassVar[bool] = True
    """Whether a layer can tell apart two orders of the tokens it looks at."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    @property
    def limit(self) -> int | None:
        """How many positions it knows; None if any can be asked for."""
        return None

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        """x: (B, T, M), the embedded tokens."""
        return x

    def rotate(self, x: Tensor, layout: Layout) -> Tensor:
        """x: (B, T, H, D), queries or new keys."""
        return x

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        """What is added to scores, from positions alone.  (B, T), (B, S) → (B or 1, H, T, S).

        A kernel may ask for it tile by tile.
        """
        return torch.zeros((), device=q_at.device)

    def score(self, scores: Tensor, q: Tensor, layout: Layout, keys: Keys, allowed: Tensor) -> Tensor:
        """scores: (B, H, T, S) before the softmax; allowed: bool (B, T, S)."""
        return scores + self.bias_of(layout, keys) if self.biased else scores

    @property
    def touches_scores(self) -> bool:
        """Whether a kernel has to hand over its scores, because what is added depends on them or on the queries."""
        return type(self).score is not Position.score

    @property
    def biased(self) -> bool:
        """Whether positions alone add something to scores."""
        return type(self).bias is not Position.bias

    @final
    def bias_of(self, layout: Layout, keys: Keys) -> Tensor:
        """The bias between all queries and keys of a call, made once for all layers.

        In blocks that are run again each layer makes its own, if it carries a gradient and was not made outside.
        """
        rows = slice(0, 1) if layout.plain else slice(None)
        key, given = (self, "bias"), (layout.position, keys.position)
        if recomputing() and not layout.made(key, given) and any(p.requires_grad for p in self.parameters()):
            return self.bias(layout.position[rows], keys.position[rows])
        return layout.once(key, given, lambda: self.bias(layout.position[rows], keys.position[rows]))

    def born(self, birth: Birth) -> None:
        """Draws own parameters; most encodings have none."""


POSITIONS: Registry[type[Position]] = Registry("position", Position, __name__)
