"""Position encodings: one file, one encoding, which overrides the hook at which it acts."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import Tensor, nn

from ...core.registry import Registry
from ..dims import Dims
from ..layout import Keys, Layout
from ..linear import Birth


class Position(nn.Module, ABC):
    """Three hooks, silent by default: on embeddings, on queries and keys, on scores."""

    ordered: ClassVar[bool] = True
    """Whether a layer can tell apart two orders of the tokens it looks at."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        """x: (B, T, M), the embedded tokens."""
        return x

    def rotate(self, x: Tensor, layout: Layout) -> Tensor:
        """x: (B, T, H, D), queries or new keys."""
        return x

    def score(self, scores: Tensor, q: Tensor, layout: Layout, keys: Keys, allowed: Tensor) -> Tensor:
        """scores: (B, H, T, S) before the softmax; allowed: bool (B, T, S)."""
        return scores

    @property
    def touches_scores(self) -> bool:
        """Whether a kernel has to hand over its scores."""
        return type(self).score is not Position.score

    def born(self, birth: Birth) -> None:
        """Draws own parameters; most encodings have none."""


POSITIONS: Registry[type[Position]] = Registry("position", Position, __name__)
