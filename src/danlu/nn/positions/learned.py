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

    x_t + P[t + offset],  P: (context + offset, M); ``offset`` rows before the first position are kept and not used
    Raises: ShapeError if a position on the host lies beyond the table.
    Source: Gehring et al. 2017, arXiv:1705.03122, §3.1; Radford et al. 2019 (GPT-2); offset: the published weights of
    RoBERTa and OPT, whose tables begin with the padding token's rows.
    Truth:  tests/truth/test_position_encodings.py (the table's row comes out where it should).
    """

    def __init__(self, dims: Dims, *, offset: int = 0) -> None:
        super().__init__(dims)
        self.table = Embedding(dims.context + offset, dims.model, axes=("context", "model"))
        self.offset = offset

    @property
    def limit(self) -> int:
        return self.table.num_embeddings - self.offset

    def embed(self, x: Tensor, layout: Layout) -> Tensor:
        at = layout.position[:1] if layout.plain else layout.position
        try:
            return x + self.table(at + self.offset if self.offset else at)
        except IndexError:
            furthest, rows = int(layout.position.max()), self.limit
            raise ShapeError(
                f"position {furthest} lies beyond the model's context of {rows} tokens; shorten the input"
            ) from None
