"""A conversation that remembers: what was said goes into the next prompt, the oldest turns leave when it is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .local import Local

ROOM = 4  # an answer may need a quarter of the context: turns are dropped until that much is free


class Conversation:
    """Holds the messages; ``say`` adds the user's and streams the answer. ``dropped`` counts turns forgotten so far.

    settings: those of ``Sampling``.
    """

    def __init__(self, local: Local, *, system: str = "", settings: dict[str, Any] | None = None) -> None:
        self.local, self.settings = local, settings or {}
        self.start = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the system message."""
        self.turns: list[list[dict[str, str]]] = []
        self.dropped = 0

    @property
    def messages(self) -> list[dict[str, str]]:
        return [*self.start, *(message for turn in self.turns for message in turn)]

    def say(self, text: str) -> Iterator[str]:
        """The answer piece by piece; what was shown of it is remembered even if the reader stops early.

        Raises: DanluError if the message alone does not fit; nothing is remembered of it and nothing forgotten.
        """
        turn = [{"role": "user", "content": text}]
        before = list(self.turns), self.dropped
        self.turns.append(turn)
        try:
            self._make_room()
            generation = self.local.answering([self.messages], self.settings)
        except Exception:
            self.turns, self.dropped = before
            raise
        return self._answer(turn, iter(generation))

    def _answer(self, turn: list[dict[str, str]], pieces: Iterator[tuple[int, str]]) -> Iterator[str]:
        answer = {"role": "assistant", "content": ""}
        turn.append(answer)
        for _, piece in pieces:
            answer["content"] += piece
            yield piece

    def _make_room(self) -> None:
        context = self.local.context
        room = min(int(self.settings.get("max_tokens", context)), context // ROOM)
        while len(self.turns) > 1 and len(self.local.asked(self.messages)) + room > context:
            del self.turns[0]
            self.dropped += 1
