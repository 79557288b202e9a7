"""Beam search against all texts there are, and by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from searching import Path, drive, greedy, markov
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.infer.filters import chain
from danlu.infer.searches import SEARCHES, Asked
from danlu.infer.searches.texts import Text

END, LIMIT = 3, 4
WIDE = 4**LIMIT


def _table(seed: int, vocab: int = 4) -> Tensor:
    return torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed)) * 2


def _texts(limit: int) -> list[tuple[int, ...]]:
    """All that end with END or at the limit."""
    ended = [(*start, END) for size in range(limit) for start in product(range(END), repeat=size)]
    return [*ended, *product(range(END), repeat=limit)]


def _logprob(table: Tensor, prompt: int, text: tuple[int, ...]) -> float:
    laws = table.double().log_softmax(-1)
    return sum(float(laws[a, b]) for a, b in zip((prompt, *text[:-1]), text, strict=True))


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_all_texts(seed: int, penalty: float) -> None:
    table = _table(seed)
    ranks = {text: _logprob(table, 0, text) / len(text) ** penalty for text in _texts(LIMIT)}
    best = sorted(ranks.values(), reverse=True)[:20]
    search = SEARCHES["beam"](
        [], frozenset([END]), LIMIT, 20, width=WIDE, length_penalty=penalty, early_stopping="never"
    )
    found = drive(search, markov(table), [0])
    assert [ranks[answer.tokens] for answer in found] == pytest.approx(best, abs=1e-5)  # some are equally likely
    assert len({answer.tokens for answer in found}) == 20
    for answer in found:
        assert answer.score == pytest.approx(ranks[answer.tokens], abs=1e-5)
        assert sum(answer.logprobs) == pytest.approx(_logprob(table, 0, answer.tokens), abs=1e-5)
        assert answer.finish == ("stop" if answer.tokens[-1] == END else "length")


def _law(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def test_two_find_what_one_passes_by() -> None:
    """0 → 1 (0.6) → 1 (0.4): 0.24 is greedy's; 0 → 2 (0.4) → 2 (0.9): 0.36 is better."""
    table = _law([0.0, 0.6, 0.4, 0.0], [0.3, 0.4, 0.3, 0.0], [0.1, 0.0, 0.9, 0.0], [0.25] * 4)
    one, two = (drive(SEARCHES["beam"]([], frozenset(), 2, width=w), markov(table), [0]) for w in (1, 2))
    assert one[0].tokens == (1, 1)
    assert two[0].tokens == (2, 2)
    assert two[0].logprobs == pytest.approx([-0.9163, -0.1054], abs=1e-4)
    assert two[0].score == pytest.approx((-0.9163 - 0.1054) / 2, abs=1e-4)


def test_when_it_is_over() -> None:
    """A text ends at once with 0.5. What goes on: 0.4, then 0.95 a token: worth waiting for if lengths are divided by.

    early_stopping true: the first two that end, [3] and [1, 3]. false: at length 2 what goes on has log(0.4 · 0.9) / 2
    = -0.51 against the second-best's log(0.4 · 0.05) / 2 = -1.96: it goes on. never: the same to the end.
    """
    table = _law([0.05, 0.4, 0.05, 0.5], [0.03, 0.9, 0.02, 0.05], [0.25] * 4, [0.25] * 4)

    def best(early: bool | str, penalty: float) -> list[tuple[int, ...]]:
        search = SEARCHES["beam"]([], frozenset([END]), 8, 2, width=2, length_penalty=penalty, early_stopping=early)
        return [answer.tokens for answer in drive(search, markov(table), [0])]

    assert best(True, 1.0) == [(3,), (1, 3)]
    assert best("never", 1.0)[0] == (1,) * 8
    assert best(False, 1.0)[0] == (1,) * 8
    assert best("never", 0.0) == [(3,), (1,) * 8]


def test_never_waits_for_texts_that_get_better_with_length() -> None:
    """[3] has log 0.6 = -0.51 and [1, 3] has log(0.35 · 0.9) / 2 = -0.58. On its way is [1, 2], of -1.68 at length 2.

    From there all is certain: at length 8 it has log(0.35 · 0.1) / 8 = -0.42, which only "never" waits for.
    """
    table = _law([0.05, 0.35, 0.0, 0.6], [0.0, 0.0, 0.1, 0.9], [0.0, 0.0, 1.0, 0.0], [0.25] * 4)

    def best(early: bool | str, penalty: float) -> list[tuple[int, ...]]:
        settings = {"width": 2, "length_penalty": penalty, "early_stopping": early}
        found = drive(SEARCHES["beam"]([], frozenset([END]), 8, 2, **settings), markov(table), [0])
        return [answer.tokens for answer in found]

    assert best(False, 1.0) == [(3,), (1, 3)]
    assert best("never", 1.0) == [(1, *[2] * 7), (3,)]
    assert best("never", 0.0) == [(3,), (1, 3)]


def test_enough_others_are_looked_at() -> None:
    """The likeliest two end; two more are found that go on."""
    law = _law([0.03, 0.07, 0.5, 0.4])
    search = SEARCHES["beam"]([], frozenset([2, 3]), 4, width=2, length_penalty=5.0, early_stopping="never")
    assert search.choose(Asked(law, [Path([0])])).tokens == (1, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("early", [False, True, "never"])
def test_a_beam_of_one_is_greedy(seed: int, early: bool | str) -> None:
    table, stops = _table(seed, 30), frozenset([4, 9])
    search = SEARCHES["beam"]([], stops, 12, width=1, early_stopping=early, length_penalty=2.0)
    assert list(drive(search, markov(table), [seed])[0].tokens) == greedy(markov(table), [seed], [], stops, 12)


def test_a_text_ends_only_if_it_is_among_the_likeliest() -> None:
    """The end is third: two that go on are likelier, so no text ends there."""
    table = _law([0.5, 0.3, 0.0, 0.2]).expand(4, -1)
    found = drive(SEARCHES["beam"]([], frozenset([END]), 2, 2, width=2), markov(table), [0])
    assert [answer.tokens for answer in found] == [(0, 0), (0, 1)]


def test_what_filters_drop_takes_no_place() -> None:
    """One token is left, then none: fewer rows than the width, and what stands is the answer."""
    table = torch.full((4, 4), float("-inf"))
    table[0, 1] = table[1, 2] = 0.0
    table[2] = float("-inf")
    search = SEARCHES["beam"](chain({"bad_words": ((3,),)}), frozenset([END]), 5, width=4)
    rows = [Path([0])]
    for token in (1, 2):
        choice = search.choose(Asked(table[rows[0].tokens[-1] if rows[0].tokens else 0][None], rows))
        assert (choice.tokens, choice.parents) == ((token,), (0,))
        rows = [Path([0], (*rows[0].tokens, token))]
    dropped = torch.zeros(1, 4)
    search.filters = (*search.filters, lambda logits, rows: logits - float("inf"))
    assert not search.choose(Asked(dropped, rows)).tokens
    assert [answer.tokens for answer in search.answers()] == [(1, 2)]


def test_more_answers_than_its_width() -> None:
    with pytest.raises(ConfigError, match="5 answers of a search of width 4"):
        SEARCHES["beam"]([], frozenset(), 5, 5, width=4)


def test_long_texts_are_forgotten_without_recursion() -> None:
    text = Text()
    for token in range(200_000):
        text = text.then(token, -1.0)
    assert text.answer(text.score, "length").tokens[-2:] == (199_998, 199_999)
    del text
