"""The likely token whose meaning was not there yet."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError
from ..checked import number, whole
from . import SEARCHES, Answer, Asked, Choice, Search, Step
from .texts import WIDEST, Text


@SEARCHES.add("contrastive")
class Contrastive(Search):
    """Of the ``width`` likeliest tokens v takes the one that is likely and whose state h_v is like no earlier one.

    y_t = argmax_v (1 - α) · p(v | y_<t) - α · max_j cos(h_v, h_j),  h_j: states under the head (S, M) of the prompt and
    of the answer. The tokens are fed side by side, so each step decides one; α = 0 is greedy. Finds one text.
    logits: (R, V), R ≤ width.
    Raises: ConfigError if more than one answer is asked for, or a setting is out of its range.
    Source: Su et al. 2022, arXiv:2202.06417, eq. 5.
    Truth:  tests/truth/test_contrastive_search.py (by hand); tests/golden/test_searches.py (transformers 4.49).
    """

    wants_hidden = True
    strong = {"width": 5, "alpha": 0.6}

    def __init__(self, *shapes: Any, width: int = 4, alpha: float = 0.6) -> None:
        super().__init__(*shapes)
        if self.asked_for > 1:
            raise ConfigError(f"{self.asked_for} answers: contrastive search finds one; ask for n = 1, or use beam")
        self._width = whole("search.width", width, 1, WIDEST)
        self.alpha = number("search.alpha", alpha, 0, 1)
        self.text = Text()
        self.known = torch.empty(0)  # (S, M) unit states of all that stands
        self.likely = torch.empty(0)  # (R,) of the tokens that were fed
        self.offered: list[Text] = []

    @property
    def width(self) -> int:
        return self._width

    def choose(self, asked: Asked) -> Choice:
        row = self._taken(asked.hidden)
        if self.text.token in self.stops or self.text.length == self.limit:
            return Choice()
        logits = asked.logits[row : row + 1]
        law = self.filtered(logits, asked.rows[row : row + 1]).softmax(-1)[0]  # (V,)
        best = law.topk(min(self._width, int((law > 0).sum())))
        self.likely, tokens = best.values, best.indices.tolist()
        logprobs = logits.log_softmax(-1)[0, best.indices].tolist()
        self.offered = [self.text.then(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)]
        return Choice.of([Step(row, token) for token in tokens])

    def _taken(self, hidden: tuple[Tensor, ...]) -> int:
        """The row whose token stays, with its state; at first, the prompt's."""
        if not self.offered:
            self.known = F.normalize(hidden[0].float(), dim=-1)
            return 0
        states = F.normalize(torch.cat([state[-1:] for state in hidden]).float(), dim=-1)  # (R, M)
        like = (self.known @ states.T).amax(0)  # (R,)
        row = int(((1 - self.alpha) * self.likely - self.alpha * like).argmax())
        self.text = self.offered[row]
        self.known = torch.cat([self.known, states[row : row + 1]])
        return row

    def answers(self) -> list[Answer]:
        ended = self.text.token in self.stops
        return [self.text.answer(self.text.score, "stop" if ended else "length")]
