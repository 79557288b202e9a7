"""How a request goes on in several rows at once: each step says which row each next token continues."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ...core.registry import Registry
from ..filters import Filter
from ..rows import Row


@dataclass(frozen=True, eq=False)
class Asked:
    """What a search is told after a step, of the rows of one request in their order.

    ``hidden``, where it is wanted: a row's states under the head (n, M), of all tokens fed since it was last asked: the
    whole prompt at first, then the newest token.
    """

    logits: Tensor  # (R, V), float32, as the model says
    rows: Sequence[Row]
    hidden: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One way on: ``token`` after the text of row ``row``; ``score`` is that of both together."""

    row: int
    token: int
    score: float = 0.0


@dataclass(frozen=True)
class Choice:
    """Row i of the next step goes on from row ``parents[i]`` of this one with ``tokens[i]``; none: it is over."""

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Choice:
        """These steps, in their order."""
        return cls(tuple(step.token for step in steps), tuple(step.row for step in steps))


@dataclass(frozen=True)
class Answer:
    """One of the texts that were found; ``score`` is what it was ranked by, finish is "stop" or "length"."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish: str


class Search(ABC):
    """Made anew for each request. It begins with one row, the prompt.

    ``filters`` act on log-probabilities, ``stops`` are the ids that end a text, ``limit`` is how many tokens it may
    have at most, ``answers`` how many are asked for. ``strong`` are settings that show it (for tests and tables).
    """

    wants_hidden: ClassVar[bool] = False
    strong: ClassVar[dict[str, Any]] = {}

    def __init__(self, filters: Sequence[Filter], stops: frozenset[int], limit: int, answers: int = 1) -> None:
        self.filters, self.stops, self.limit, self.asked_for = tuple(filters), stops, limit, answers

    def check(self, vocab: int) -> None:  # noqa: B027  most have nothing to refuse
        """Raises ConfigError for a setting that a model of so many tokens cannot serve; called before any step."""

    def filtered(self, logprobs: Tensor, rows: Sequence[Row]) -> Tensor:
        """(R, V) → (R, V): what the filters leave."""
        for change in self.filters:
            logprobs = change(logprobs, rows)
        return logprobs

    @property
    @abstractmethod
    def width(self) -> int:
        """The most rows it has side by side."""

    @abstractmethod
    def choose(self, asked: Asked) -> Choice:
        """What is fed next."""

    @abstractmethod
    def answers(self) -> list[Answer]:
        """The best first, when it is over: as many as were asked for, or fewer if the filters left no more."""


SEARCHES: Registry[type[Search]] = Registry("search", Search, __name__)
