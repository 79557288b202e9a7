"""How the next token is chosen from the logits of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.registry import Registry
from ..filters import Filter


class Choice(NamedTuple):
    """The tokens chosen, and of which row each is the continuation (None: row i goes on as row i)."""

    tokens: Tensor  # (B,)
    parents: Tensor | None = None  # (B,)


class Decoder(ABC):
    """Chooses one token a row; ``filters`` say what may be sampled, ``rows`` are the rows' own random generators.

    What a row gets depends on its logits and its generator alone, never on its neighbors.
    """

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self.filters = tuple(filters)

    @abstractmethod
    def choose(self, logits: Tensor, rows: Sequence[torch.Generator]) -> Choice:  # (B, V) -> (B,)
        """The next token of each row."""


DECODERS: Registry[type[Decoder]] = Registry("decoder", Decoder, __name__)
