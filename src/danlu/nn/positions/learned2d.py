"""Two learned vectors a token: one for each of two positions."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError, ShapeError
from ..dims import Dims
from ..layout import Layout
from ..linear import Embedding
from . import POSITIONS, Position


@POSITIONS.add("learned2d")
class Learned2d(Position):
    """Adds a trained vector for the position and one for the second position that ``layout.inner`` holds.

    x_t + P[position_t] + Q[inner_t],  P: (context, M),  Q: (inner, M); inner is 0 where the layout has none.
    GLM: the place in the text with its gaps, and the place within the span that fills a gap. Patches: row and column.
    Raises: ConfigError if inner is below 1; ShapeError if a position on the host lies beyond its table.
    Source: Du et al. 2021, arXiv:2103.10360, §2.1.2; Dosovitskiy et al. 2020, arXiv:2010.11929, appendix D.4.
    Truth:  tests/truth/test_two_positions.py (rows of both tables come out where they should).
    """

    def __init__(self, dims: Dims, *, inner: int = 512) -> None:
        super().__init__(dims)
        if inner < 1:
            raise ConfigError(f"learned2d needs at least 1 second position, found inner = {inner}")
        self.outer = Embedding(dims.context, dims.model, axes=("context", "model"))
        self.inner = Embedding(inner, dims.model, axes=("inner", "model"))

    @property
    def limit(self) -> int:
        return self.outer.num_embeddings

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        second = torch.zeros_like(layout.position[:1, :1]) if layout.inner is None else layout.inner
        x = x + _rows(self.outer, layout.position[:1] if layout.plain else layout.position, "position")
        return x + _rows(self.inner, second, "second position")


def _rows(table: Embedding, at: Tensor, name: str) -> Tensor:
    try:
        return table(at)
    except IndexError:
        raise ShapeError(
            f"{name} {int(at.max())} lies beyond the model's table of {table.num_embeddings}; shorten the input"
        ) from None
