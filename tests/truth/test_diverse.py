"""Groups of beams that avoid each other, by hand."""

from __future__ import annotations

import pytest
import torch
from searching import Path, drive, markov

from danlu.core.errors import ConfigError
from danlu.infer.filters import chain
from danlu.infer.searches import SEARCHES, Answer, Asked, Choice

LAW = torch.tensor([0.5, 0.3, 0.15, 0.05])
FLAT = LAW.log().expand(4, -1)


def _found(width: int, groups: int, diversity: float, answers: int = 1, **more: object) -> list[Answer]:
    settings = {"width": width, "groups": groups, "diversity": diversity}
    return drive(SEARCHES["diverse"]([], frozenset([3]), 2, answers, **settings, **more), markov(FLAT), [0])


def test_each_group_pays_for_what_those_before_chose() -> None:
    """Three groups of one text. A token costs 1 for each group that took it: log 0.5 - 1 = -1.69 < log 0.3 = -1.20.

    So the groups say 0, 1 and then 0 (-1.69) rather than 2 (log 0.15 = -1.90) or 1 (-2.20).
    """
    search = SEARCHES["diverse"]([], frozenset(), 2, 3, width=3, groups=3, diversity=1.0)
    rows = [Path([0])]
    first = search.choose(Asked(FLAT[:1], rows))
    assert first == Choice((0, 1, 0), (0, 0, 0))
    second = search.choose(Asked(FLAT[:3], [Path([0], (token,)) for token in first.tokens]))
    assert second == Choice()
    log = LAW.log().tolist()
    costs = {(0, 0): 2 * log[0], (1, 1): 2 * log[1]}  # the third says 0 again at twice a cost of 1, as the first did
    assert {a.tokens: a.score for a in search.answers()} == pytest.approx(
        {k: v / 2 for k, v in costs.items()}, abs=1e-5
    )


def test_without_a_price_all_groups_find_the_same() -> None:
    alone = drive(SEARCHES["beam"]([], frozenset([3]), 2, 2, width=2), markov(FLAT), [0])
    assert _found(6, 3, 0.0, answers=6) == alone


def test_a_high_price_keeps_groups_apart() -> None:
    """No token is taken twice while there are others."""
    tokens = [answer.tokens for answer in _found(3, 3, 100.0, answers=3)]
    assert sorted(tokens) == [(0, 0), (1, 1), (2, 2)]


def test_the_price_acts_before_filters() -> None:
    """A penalty of repeating 0 multiplies what the price made of it."""
    search = SEARCHES["diverse"](
        chain({"repetition_penalty": 2.0}), frozenset(), 1, 2, width=2, groups=2, diversity=0.25
    )
    assert not search.choose(Asked(FLAT[:1], [Path([0])])).tokens
    log = LAW.log().tolist()
    assert {a.tokens: a.score for a in search.answers()} == pytest.approx({(1,): log[1], (0,): 2 * log[0]}, abs=1e-5)


def test_groups_that_are_over_leave_the_rest_alone() -> None:
    """Group one says 1 and ends; group two says 2, then goes on in the only row and pays for nothing."""
    laws = [[0.1, 0.5, 0.4, 0.0], [0.05, 0.05, 0.0, 0.9], [0.9, 0.1, 0.0, 0.0]]
    table = torch.tensor(laws).log()
    settings = {"width": 2, "groups": 2, "diversity": 1.0, "early_stopping": True}
    search = SEARCHES["diverse"]([], frozenset([3]), 3, 2, **settings)
    assert search.choose(Asked(table[:1], [Path([0])])) == Choice((1, 2), (0, 0))
    assert search.choose(Asked(table[1:], [Path([0], (1,)), Path([0], (2,))])) == Choice((0,), (1,))
    assert search.choose(Asked(table[:1], [Path([0], (2, 0))])) == Choice()
    log = torch.tensor([0.5 * 0.9, 0.4 * 0.9 * 0.5]).log().tolist()
    found = {answer.tokens: answer.score for answer in search.answers()}
    assert found == pytest.approx({(1, 3): log[0] / 2, (2, 0, 1): log[1] / 3}, abs=1e-5)


@pytest.mark.parametrize(("width", "groups"), [(5, 2), (4, 0), (4, 5), (4, 1.5)])
def test_groups_that_do_not_fit(width: int, groups: int) -> None:
    with pytest.raises(ConfigError, match=r"search\.groups"):
        SEARCHES["diverse"]([], frozenset(), 4, width=width, groups=groups)
