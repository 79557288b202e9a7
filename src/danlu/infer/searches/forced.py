"""The likeliest texts in which given words stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from torch import Tensor

from ...core.errors import ConfigError
from . import SEARCHES, Answer, Asked, Choice, Search, Step
from .phrases import Progress, read, room
from .texts import Group, Rules


@SEARCHES.add("forced")
class Forced(Search):
    """A beam whose places are shared out between texts that met more and fewer of the words.

    Beside the likeliest steps, every text may take the next token of a word it owes, and one that owes none its
    likeliest. Texts fall into banks by how many tokens of words they met; in turn each bank, the highest first, fills a
    place with its likeliest, until ``width`` stand. A text may end only with all words met. ``words``: token ids,
    [5, 6], or several forms of which one must stand, [[5, 6], [7]]. What the prompt says does not count.
    rank = Σ_t log p(y_t | y_<t) / T^length_penalty.  logits: (R, V), R ≤ width.
    Raises: ConfigError if the words do not fit within the limit, hold a token that ends texts or none of the model's,
    or a setting is out of its range.
    Source: Hokamp, Liu 2017, arXiv:1704.07138, alg. 1; Post, Vilar 2018, arXiv:1804.06609, §3 (banks).
    Truth:  tests/truth/test_forced.py (the best text with the words, enumerated); tests/golden/test_searches.py
    (transformers 4.49).
    """

    strong = {"words": [[5, 6], [[7], [8, 9]]], "width": 3}

    def __init__(
        self,
        *shapes: Any,
        words: Sequence[Any],
        width: int = 4,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
    ) -> None:
        super().__init__(*shapes)
        rules = Rules(width, length_penalty, early_stopping)
        rules.expect(self.asked_for)
        self.words = read(words)
        if (needed := sum(map(room, self.words))) > self.limit:
            raise ConfigError(f"search.words need {needed} tokens and max_tokens is {self.limit}: raise it")
        if ending := self.stops & self._ids():
            raise ConfigError(f"search.words: token {min(ending)} ends texts, so it cannot stand in one")
        self.group = Group(rules, self.stops, self.limit)
        self.met = [Progress(self.words)]

    def _ids(self) -> set[int]:
        return {token for word in self.words for form in word for token in form}

    def check(self, vocab: int) -> None:
        if wrong := sorted(token for token in self._ids() if token >= vocab):
            raise ConfigError(f"search.words: token id {wrong[0]} is not the model's; its ids are 0 … {vocab - 1}")

    @property
    def width(self) -> int:
        return self.group.rules.width

    def choose(self, asked: Asked) -> Choice:
        logprobs = asked.logits.log_softmax(-1)  # (R, V)
        scores = self.group.scored(self.filtered(logprobs, asked.rows))
        ends = self._ending(scores)
        _, going = self.group.split(scores)
        going = self._shared_out([*going, *self._owed(scores), *self._safe(scores)])
        if self.group.texts[0].length + 1 == self.limit:  # those with all words, if there are or were any
            whole = [step for step in going if self._after(step).complete]
            going = whole or ([] if ends or self.group.ended else going)
        self.group.settle(ends, going, logprobs)
        self.met = [self._after(step) for step in going]
        return Choice() if self.group.over else Choice.of(going)

    @property
    def _complete(self) -> list[int]:
        return [row for row, met in enumerate(self.met) if met.complete]

    def _ending(self, scores: Tensor) -> list[Step]:
        """Texts with all words end as if those without were not there."""
        rows = self._complete
        ends = self.group.split(scores[rows])[0] if rows else []
        return [replace(step, row=rows[step.row]) for step in ends]

    def _safe(self, scores: Tensor) -> list[Step]:
        """The likeliest step of each text with all words: it may be less likely than all steps of those without."""
        rows = self._complete
        steps = [(row, self.group.split(scores[row : row + 1])[1][:1]) for row in rows]
        return [replace(step, row=row) for row, first in steps for step in first]

    def _owed(self, scores: Tensor) -> list[Step]:
        """The steps that bring a text further towards the words it owes."""
        steps = [(row, token) for row, met in enumerate(self.met) for token in met.wanted]
        found = [Step(row, token, float(scores[row, token])) for row, token in steps]
        return [step for step in found if step.score > float("-inf")]

    def _shared_out(self, steps: Sequence[Step]) -> list[Step]:
        """``width`` of them: the likeliest of each bank in turn, the highest bank first."""
        banks: dict[int, list[Step]] = {}
        for step in sorted(dict.fromkeys(steps), key=lambda step: step.score, reverse=True):
            banks.setdefault(self._after(step).bank, []).append(step)
        ranks = range(max(map(len, banks.values()), default=0))
        falling = sorted(banks, reverse=True)
        turns = chain.from_iterable([banks[bank][rank : rank + 1] for bank in falling] for rank in ranks)
        return list(chain.from_iterable(turns))[: self.width]

    def _after(self, step: Step) -> Progress:
        return self.met[step.row].after(step.token)

    def answers(self) -> list[Answer]:
        return self.group.answers(self.asked_for)
