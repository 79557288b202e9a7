"""The likeliest texts, found by going on from several at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import SEARCHES, Answer, Asked, Choice, Search
from .texts import Group, Rules


@SEARCHES.add("beam")
class Beam(Search):
    """Keeps the ``width`` texts of largest Σ log p side by side; those that end are ranked by their lengths, too.

    rank = Σ_t log p(y_t | y_<t) / T^length_penalty,  T: tokens of the answer, its stop token included
    Each step looks at all of (R, V), R ≤ width. It is over when ``width`` texts ended and early_stopping is true; where
    it is false, when none on its way ranks higher at its present length; "never": when none ever can (for penalties ≥ 0
    and log-probabilities; at its longest, T = limit). Filters act on log-probabilities. A beam of one is greedy.
    Raises: ConfigError if a setting is out of its range, or more answers are asked for than its width.
    Source: Lowerre 1976, "The HARPY speech recognition system"; Wu et al. 2016, arXiv:1609.08144, §7 (lengths).
    Truth:  tests/truth/test_beam.py (the best of all texts, enumerated); tests/parity/test_beam.py (transformers 5).
    """

    strong = {"width": 3, "length_penalty": 0.6}

    def __init__(
        self, *shapes: Any, width: int = 4, length_penalty: float = 1.0, early_stopping: bool | str = False
    ) -> None:
        super().__init__(*shapes)
        rules = Rules(width, length_penalty, early_stopping)
        rules.expect(self.asked_for)
        rules = replace(rules, early_stopping=True) if width == 1 else rules
        self.group = Group(rules, self.stops, self.limit)

    @property
    def width(self) -> int:
        return self.group.rules.width

    def choose(self, asked: Asked) -> Choice:
        logprobs = asked.logits.log_softmax(-1)  # (R, V)
        ends, going = self.group.split(self.group.scored(self.filtered(logprobs, asked.rows)))
        self.group.settle(ends, going, logprobs)
        return Choice() if self.group.over else Choice.of(going)

    def answers(self) -> list[Answer]:
        return self.group.answers(self.asked_for)
