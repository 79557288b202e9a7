"""Texts side by side that go on with what is likeliest in all, and the best of those that ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..checked import number, whole
from . import Answer, Step

WIDEST = 1024  # texts side by side


@dataclass(frozen=True, eq=False, slots=True)
class Text:
    """A text on its way, linked to what it goes on from; ``score`` is Σ log p of its tokens as the filters left them.

    ``logprob`` is that of its last token to the model itself.
    """

    score: float = 0.0
    length: int = 0
    token: int = -1
    logprob: float = 0.0
    before: Text | None = field(default=None, repr=False)

    def then(self, token: int, logprob: float, score: float | None = None) -> Text:
        """With one more token; without a score of its own, the model's log-probability counts."""
        return Text(self.score + logprob if score is None else score, self.length + 1, token, logprob, self)

    def answer(self, score: float, finish: str) -> Answer:
        """It as a whole."""
        path, text = [], self
        while text.before is not None:
            path.append((text.token, text.logprob))
            text = text.before
        tokens, logprobs = zip(*reversed(path), strict=True) if path else ((), ())
        return Answer(tuple(tokens), tuple(logprobs), score, finish)


@dataclass(frozen=True)
class Rules:
    """How many texts stand side by side, how lengths are made comparable, and when no better one is waited for.

    Raises: ConfigError if one is out of its range.
    """

    width: int
    length_penalty: float
    early_stopping: bool | str

    def __post_init__(self) -> None:
        whole("search.width", self.width, 1, WIDEST)
        number("search.length_penalty", self.length_penalty, -10, 10)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ConfigError(f"search.early_stopping {self.early_stopping!r}: must be true, false or 'never'")

    def expect(self, answers: int) -> None:
        """Raises ConfigError if so many answers cannot be found."""
        if answers > self.width:
            raise ConfigError(f"{answers} answers of a search of width {self.width}: ask for {self.width} or fewer")

    def ranked(self, score: float, length: int) -> float:
        return score / length**self.length_penalty

    def reach(self, score: float, length: int, limit: int) -> float:
        """What a text that goes on can be ranked by at best: an estimate, and a bound where early_stopping is never."""
        far = self.early_stopping == "never" and self.length_penalty > 0
        return self.ranked(score, limit if far else length)


class Group:
    """At most ``width`` texts side by side, at first one that is empty, and the best ``width`` that ended."""

    def __init__(self, rules: Rules, stops: frozenset[int], limit: int) -> None:
        self.rules, self.stops, self.limit = rules, stops, limit
        self.texts = [Text()]
        self.ended: list[tuple[float, Text, str]] = []  # the best first
        self.over = False

    def scored(self, laws: Tensor) -> Tensor:
        """Of every text with every token after it.  laws: (R, V) → (R, V)."""
        return laws + torch.tensor([text.score for text in self.texts], device=laws.device)[:, None]

    def split(self, scores: Tensor) -> tuple[list[Step], list[Step]]:
        """What ends now and what goes on, the likeliest first.  scores: (R, V).

        A text ends only if it is among the ``width`` likeliest of all; enough others are looked at to fill the width.
        """
        width = self.rules.width
        best = ranked(scores, max(2, 1 + len(self.stops)) * width)
        ends = [step for step in best[:width] if step.token in self.stops]
        return ends, [step for step in best if step.token not in self.stops][:width]

    def settle(self, ends: Sequence[Step], going: Sequence[Step], logprobs: Tensor) -> None:
        """Takes these steps; at the limit what would go on ends, too.  logprobs: (R, V), of the model itself."""
        self._end([self._text(step, logprobs) for step in ends], "stop")
        if not going:
            self.over = True
            return
        self.texts = [self._text(step, logprobs) for step in going]
        if self.texts[0].length == self.limit:
            self.over = True
            self._end(self.texts, "length")
        else:
            self.over = self._settled()

    def answers(self, count: int) -> list[Answer]:
        """The best first; where none ended, for want of tokens that may follow, those on their way."""
        ended = self.ended or [(self._rank(text), text, "length") for text in self.texts]
        return [text.answer(score, finish) for score, text, finish in ended[:count]]

    def _text(self, step: Step, logprobs: Tensor) -> Text:
        return self.texts[step.row].then(step.token, float(logprobs[step.row, step.token]), step.score)

    def _end(self, texts: Sequence[Text], finish: str) -> None:
        new = [(self._rank(text), text, finish) for text in texts]
        self.ended = sorted([*self.ended, *new], key=lambda one: one[0], reverse=True)[: self.rules.width]

    def _rank(self, text: Text) -> float:
        return self.rules.ranked(text.score, max(text.length, 1))

    def _settled(self) -> bool:
        """Whether no text on its way is waited for."""
        if len(self.ended) < self.rules.width:
            return False
        best = max(text.score for text in self.texts)
        reach = self.rules.reach(best, self.texts[0].length, self.limit)
        return self.rules.early_stopping is True or reach <= self.ended[-1][0]


def ranked(scores: Tensor, count: int) -> list[Step]:
    """The ``count`` likeliest steps, the best first; none that a filter dropped.  scores: (R, V)."""
    best = scores.flatten().topk(min(count, scores.numel()))
    places = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    size = scores.shape[-1]
    return [Step(place // size, place % size, score) for place, score in places if score > float("-inf")]
