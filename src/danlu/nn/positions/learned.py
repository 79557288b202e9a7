"""One learned vector a position."""

from __future__ import annotations

from torch import Tensor

from ...core.errors import ShapeError
from ..dims import Dims
from ..layout import Layout
from ..linear import Embedding
from . import POSITIONS, Position


@POSITIONS.add("learned")
class Learned(Position):
    """Adds a trained vector to the embedding of each position below ``dims.context``.

    x_t + P[t],  P: (context, M)
    Raises: ShapeError if a position on the host lies beyond the table.
    Source: Gehring et al. 2017, arXiv:1705.03122, §3.1; Radford et al. 2019 (GPT-2).
    Truth:  tests/truth/test_position_encodings.py (the table's row comes out where it should).
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.table = Embedding(dims.context, dims.model, axes=("context", "model"))

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        try:
            return x + self.table(layout.position[:1] if layout.plain else layout.position)
        except IndexError:
            furthest, rows = int(layout.position.max()), self.table.num_embeddings
            raise ShapeError(
                f"position {furthest} lies beyond the model's context of {rows} tokens; shorten the input"
            ) from None
