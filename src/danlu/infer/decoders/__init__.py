"""How the next token of a row is chosen from its logits alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from ...core.registry import Registry
from ..filters import Filter
from ..rows import Row


class Decoder(ABC):
    """Chooses one token a row; ``filters`` say what may be chosen.

    What a row gets depends on its logits, history and generator alone, never on its neighbors: rows of many requests
    are served at once.
    """

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self.filters = tuple(filters)

    def filtered(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        """(B, V) → (B, V): what the filters leave, in their order; a row of which they would leave nothing is left."""
        left = logits
        for change in self.filters:
            left = change(left, rows)
        if all(change.shapes for change in self.filters):
            return left
        return left.where(left.amax(-1, keepdim=True) > float("-inf"), logits)

    @abstractmethod
    def choose(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:  # (B, V) -> (B,)
        """The next token of each row."""

    @abstractmethod
    def law(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:  # (B, V) -> (B, V)
        """The probabilities by which ``choose`` chooses: what speculation must keep."""


DECODERS: Registry[type[Decoder]] = Registry("decoder", Decoder, __name__)
