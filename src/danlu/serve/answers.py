"""What an engine said, put together: texts, tokens with their log-probabilities, usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ..infer.request import Event, Told
from .service import Ticket


@dataclass
class Answer:
    """One of the texts to a prompt; ``nothing``: no token was asked for, and the one that came is forgotten."""

    with_stop: bool = False
    nothing: bool = False
    text: str = ""
    tokens: list[Told] = field(default_factory=list)
    finish: str | None = None
    stop: str | int | None = None

    def take(self, event: Event) -> tuple[str, tuple[Told, ...]]:
        """What the event adds: text and tokens."""
        if self.nothing:
            self.finish = "length"
            return "", ()
        self.finish, self.stop = event.finish, event.stop
        added = event.text + (event.stop if self.with_stop and isinstance(event.stop, str) else "")
        self.text += added
        self.tokens += event.tokens
        return added, event.tokens

    @property
    def mean(self) -> float:
        """The mean log-probability of its tokens: what best_of ranks by."""
        return sum(told.logprob for told in self.tokens) / max(len(self.tokens), 1)


@dataclass
class Usage:
    """What was read and said; ``cached`` of what was read came from the prefix cache."""

    prompt: int = 0
    answer: int = 0
    cached: int = 0

    def take(self, tokens: int, cached: int | None) -> None:
        self.answer += tokens
        self.cached += cached or 0

    def __str__(self) -> str:
        return f"{self.prompt} read ({self.cached} cached), {self.answer} said"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


@dataclass
class Whole:
    """All answers to one prompt, and what was told of the prompt's own tokens."""

    ids: tuple[int, ...]
    answers: list[Answer]
    prompt: tuple[Told | None, ...] = ()

    def best(self, count: int) -> list[Answer]:
        return sorted(self.answers, key=lambda one: one.mean, reverse=True)[:count]


@dataclass
class Growing:
    """The answers of a ticket as they come."""

    ticket: Ticket
    wholes: list[Whole]
    usage: Usage

    @classmethod
    def of(cls, ticket: Ticket, *, with_stop: bool, nothing: bool = False) -> Growing:
        wholes = [
            Whole(one.prompt, [Answer(with_stop, nothing) for _ in range(one.sampling.n)]) for one in ticket.requests
        ]
        return cls(ticket, wholes, Usage(prompt=sum(len(one.prompt) for one in ticket.requests)))

    async def __aiter__(self) -> AsyncIterator[Piece]:
        async for place, event in self.ticket:
            whole = self.wholes[place]
            answer = whole.answers[event.index]
            whole.prompt = whole.prompt or event.prompt
            text, tokens = answer.take(event)
            self.usage.take(len(tokens), event.cached)
            yield Piece(place, event.index, answer, text, tokens)

    async def done(self) -> list[Whole]:
        async for _ in self:
            pass
        return self.wholes


@dataclass(frozen=True)
class Piece:
    """What was just added to one answer of one prompt."""

    place: int
    index: int
    answer: Answer
    text: str
    tokens: tuple[Told, ...]
