"""Who opens what is exported: asked for ids, for the law of the next tokens, and where it stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """What was chosen greedily, and the law at each step, None where it was not told.

    A law is the ids (N,) of the likeliest tokens and their natural log-probabilities (N,).
    """

    tokens: list[int]
    laws: list[tuple[Tensor, Tensor] | None]


class Consumer(ABC):
    """Another program with the exported model open in it; to be closed."""

    name: str

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are recognized, with bos and eos as the model asks."""

    @abstractmethod
    def answer(self, prompt: Sequence[int], steps: int) -> Answer:
        """The greedy continuation of at most so many tokens, up to one that ends an answer."""

    @abstractmethod
    def conversation(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text that its chat template makes of a conversation, up to where the answer begins."""

    @abstractmethod
    def stops(self, token: int) -> bool:
        """Whether it ends an answer at a token."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds."""
