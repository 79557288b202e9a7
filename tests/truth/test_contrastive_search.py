"""Contrastive search by hand."""

from __future__ import annotations

import pytest
import torch
from searching import Path, drive, greedy, markov

from danlu.core.errors import ConfigError
from danlu.infer.searches import SEARCHES, Asked, Choice

LAW = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
PROMPT = torch.tensor([[1.0, 0.0], [3.0, 4.0]])  # directions (1, 0) and (0.6, 0.8)


def _offered(alpha: float, **more: int) -> tuple:
    search = SEARCHES["contrastive"]([], frozenset([9]), 5, width=3, alpha=alpha)
    first = search.choose(Asked(LAW[None], [Path([0, 1])], (PROMPT,)))
    assert first == Choice((0, 1, 2), (0, 0, 0))
    return search, [Path([0, 1], (token,)) for token in first.tokens]


@pytest.mark.parametrize(
    ("alpha", "row"),
    [
        (0.0, 0),  # 0.5 beats 0.3 and 0.15
        (0.4, 1),  # 0.6 · p - 0.4 · likeness: 0.3 - 0.4, 0.18 - 0.4 · 0.28, 0.09 - 0.4 · (-0.6)
        (1.0, 2),
    ],
)
def test_the_one_that_is_likely_and_new(alpha: float, row: int) -> None:
    """States of the three: as the first of the prompt (likeness 1), (0.28, 0.96) and away from all (-0.6, at best)."""
    search, rows = _offered(alpha)
    states = torch.tensor([[2.0, 0.0], [0.28, 0.96], [-1.0, 0.0]])
    likeness = torch.tensor([1.0, 0.28 * 0.6 + 0.96 * 0.8, -0.6])
    law = LAW.exp()[:3]
    expected = int(((1 - alpha) * law - alpha * likeness).argmax())
    if alpha != 0.4:
        assert expected == row
    choice = search.choose(Asked(LAW.expand(3, -1), rows, tuple(states[:, None])))
    assert choice.parents == (expected,) * 3


def test_what_was_chosen_is_old_at_the_next_step() -> None:
    """A state that was chosen has likeness 1 from then on."""
    search, rows = _offered(0.9)
    states = torch.tensor([[0.0, -1.0], [-1.0, 0.0], [1.0, 0.0]])
    found = []
    for _ in range(3):  # likeness at most 0, -0.6, 1; then 0, 1, 1; then 1, 1, 1, where 0 is likeliest
        choice = search.choose(Asked(LAW.expand(3, -1), rows, tuple(states[:, None])))
        found.append(set(choice.parents))
    assert found == [{1}, {0}, {0}]
    assert [answer.tokens for answer in search.answers()] == [(1, 0, 0)]


@pytest.mark.parametrize("seed", range(4))
def test_without_contrast_it_is_greedy(seed: int) -> None:
    table = torch.randn(20, 20, generator=torch.Generator().manual_seed(seed)) * 2
    stops = frozenset([5, 11])
    search = SEARCHES["contrastive"]([], stops, 9, width=4, alpha=0.0)
    found = drive(search, markov(table), [3])[0]
    assert list(found.tokens) == greedy(markov(table), [3], [], stops, 9)
    assert found.finish == ("stop" if found.tokens[-1] in stops else "length")
    laws = table.log_softmax(-1)
    steps = zip((3, *found.tokens[:-1]), found.tokens, strict=True)
    assert found.logprobs == pytest.approx([float(laws[a, b]) for a, b in steps], abs=1e-5)


def test_it_finds_one() -> None:
    with pytest.raises(ConfigError, match="ask for n = 1"):
        SEARCHES["contrastive"]([], frozenset(), 4, 2)
