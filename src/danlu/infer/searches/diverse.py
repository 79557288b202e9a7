"""Several beams that avoid each other's words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..checked import number, whole
from . import SEARCHES, Answer, Asked, Choice, Search, Step
from .texts import Group, Rules


@SEARCHES.add("diverse")
class Diverse(Search):
    """Beams of width / groups texts each, one after the other: a token that earlier ones just chose costs each time.

    group g ranks by  Σ_t (log p(y_t | y_<t) - diversity · #{h < g: texts of group h that go on with y_t})
    The penalty acts before the filters. Answers are the best of all groups, each once. A group that is over avoids and
    is avoided no more.
    Raises: ConfigError if width is no multiple of groups, or a setting is out of its range.
    Source: Vijayakumar et al. 2018, arXiv:1610.02424, alg. 1 (Hamming diversity).
    Truth:  tests/truth/test_diverse.py (by hand); tests/golden/test_searches.py (transformers 4.49).
    """

    strong = {"width": 4, "groups": 2, "diversity": 2.0}

    def __init__(
        self,
        *shapes: Any,
        width: int = 4,
        groups: int = 2,
        diversity: float = 1.0,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
    ) -> None:
        super().__init__(*shapes)
        rules = Rules(width, length_penalty, early_stopping)
        rules.expect(self.asked_for)
        if width % whole("search.groups", groups, 1, width):
            raise ConfigError(f"search.groups {groups}: must divide the width, {width}")
        self.diversity = number("search.diversity", diversity, 0, 1e4)
        part = Rules(width // groups, length_penalty, early_stopping)
        self.groups = [Group(part, self.stops, self.limit) for _ in range(groups)]
        self._width = width

    @property
    def width(self) -> int:
        return self._width

    def choose(self, asked: Asked) -> Choice:
        chosen = torch.zeros(asked.logits.shape[-1], device=asked.logits.device)  # (V,) how often at this step
        start, steps = 0, []
        for group in self.groups:
            if group.over:
                continue
            begun, stop = group.texts[0].length > 0, start + len(group.texts)
            going = self._grown(group, asked, slice(start, stop), chosen)
            if not group.over:
                steps += [Step(start + step.row, step.token, step.score) for step in going]
            start = stop if begun else 0  # at first all groups go on from one row
        return Choice.of(steps)

    def _grown(self, group: Group, asked: Asked, place: slice, chosen: Tensor) -> list[Step]:
        """Takes one step with a group and counts what it chose."""
        logprobs = asked.logits[place].log_softmax(-1)  # (R, V)
        laws = self.filtered(logprobs - self.diversity * chosen, asked.rows[place])
        ends, going = group.split(group.scored(laws))
        group.settle(ends, going, logprobs)
        tokens = torch.tensor([step.token for step in going], dtype=torch.long, device=chosen.device)
        chosen += tokens.bincount(minlength=len(chosen))
        return going

    def answers(self) -> list[Answer]:
        found = [answer for group in self.groups for answer in group.answers(self._width)]
        best: dict[tuple[int, ...], Answer] = {}  # groups may have found the same
        for answer in sorted(found, key=lambda answer: answer.score, reverse=True):
            best.setdefault(answer.tokens, answer)
        return list(best.values())[: self.asked_for]
