"""What the rooms that never import the engine may ask of it: protocols that an engine or a remote client answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .batch import Record


@dataclass(frozen=True)
class Score:
    """The log-probability (natural) of each continuation token, and whether it is the likeliest at its place."""

    logprobs: tuple[float, ...]
    likeliest: tuple[bool, ...]

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would have said all of it."""
        return all(self.likeliest)

    @property
    def total(self) -> float:
        return sum(self.logprobs)


class Scorer(Protocol):
    """Says how likely a continuation is after a context, both as token ids."""

    @property
    def context(self) -> int:
        """The longest context plus continuation, in tokens."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text as a document begins: with BOS where the model was trained so."""
        ...

    def byte_count(self, ids: Sequence[int]) -> int:
        """How many bytes of text these tokens stand for; special tokens count none."""
        ...

    def score(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        """One Score a row of (context ids, continuation ids); the context holds at least one token."""
        ...


@dataclass(frozen=True)
class Completion:
    """What was generated: logprobs are natural, one a token; finish_reason is "stop" or "length"."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str


class Chat(Protocol):
    """Answers conversations: messages are ``{"role": …, "content": …}``."""

    def chat(self, conversations: Sequence[Sequence[dict[str, Any]]], **settings: Any) -> list[Completion]: ...

    def stream(self, conversation: Sequence[dict[str, Any]], **settings: Any) -> Iterator[str]:
        """Pieces of text as they are decided; never half a character nor part of a stop string."""
        ...


class Stream(Protocol):
    """Records without end, and where it is: data from a store, or rollouts of the live model."""

    def __iter__(self) -> Iterator[Record]: ...

    def state(self) -> dict[str, Any]:
        """JSON: restoring it makes the next record the one that would have come next."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...
