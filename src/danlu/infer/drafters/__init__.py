"""Who guesses how a text goes on, cheaply: the model then reads all guesses in one pass (speculative decoding)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...core.errors import ConfigError
from ...core.registry import Registry
from ...nn.model import Model
from ..decoders import Decoder
from ..rows import Row


@dataclass(frozen=True, eq=False)
class Guess:
    """The next tokens of a row as somebody guesses them.

    ``laws`` (D, V) are the probabilities by which each of the D tokens was drawn; None: they were not drawn.
    """

    tokens: tuple[int, ...] = ()
    laws: Tensor | None = None

    def first(self, count: int) -> Guess:
        """No more than so many of them."""
        return Guess(self.tokens[:count], None if self.laws is None else self.laws[:count])


class Drafter(ABC):
    """Guesses ``tokens`` tokens a row at most. Wrong guesses cost time, never exactness.

    A drafter that ``wants_model`` is made with a smaller model of the same vocabulary.
    Raises: ConfigError if ``tokens`` is not above 0.
    """

    wants_model: ClassVar[bool] = False

    def __init__(self, model: Model | None = None, *, tokens: int = 4) -> None:
        if tokens < 1 or tokens != int(tokens):
            raise ConfigError(f"a draft of {tokens} tokens: must be a whole number of 1 or more")
        self.tokens = int(tokens)

    @abstractmethod
    def propose(self, rows: Sequence[Row], decoder: Decoder, most: int) -> list[Guess]:
        """A guess a row, of at most ``most`` tokens; ``decoder`` is who chooses for these rows."""


DRAFTERS: Registry[type[Drafter]] = Registry("drafter", Drafter, __name__)
