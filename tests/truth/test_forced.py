"""Words that must stand, against all texts in which they do."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from searching import Path, drive, markov
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.infer.filters import chain
from danlu.infer.searches import SEARCHES, Asked
from danlu.infer.searches.phrases import Progress, read

END, LIMIT = 3, 4


def _table(seed: int) -> Tensor:
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)) * 2


def _logprob(table: Tensor, text: tuple[int, ...]) -> float:
    laws = table.double().log_softmax(-1)
    return sum(float(laws[a, b]) for a, b in zip((0, *text[:-1]), text, strict=True))


def _stands(word: list[int], text: tuple[int, ...]) -> bool:
    return any(list(text[i : i + len(word)]) == word for i in range(len(text)))


@pytest.mark.parametrize("words", [[[1]], [[2, 1]], [[1, 2], [0]]])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_search_finds_the_best_text_with_the_words(seed: int, words: list[list[int]]) -> None:
    table = _table(seed)
    ended = [(*start, END) for size in range(LIMIT) for start in product(range(END), repeat=size)]
    texts = [*ended, *product(range(END), repeat=LIMIT)]
    ranks = {text: _logprob(table, text) / len(text) for text in texts if all(_stands(word, text) for word in words)}
    search = SEARCHES["forced"]([], frozenset([END]), LIMIT, 3, words=words, width=256, early_stopping="never")
    found = drive(search, markov(table), [0])
    best = sorted(ranks.values(), reverse=True)[:3]
    assert [ranks[answer.tokens] for answer in found] == pytest.approx(best, abs=1e-5)
    assert [answer.score for answer in found] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("words", [[[7, 7, 8]], [[5], [6, 4]], [[[9, 2, 1], [4]], [0, 1]]])
def test_words_stand_however_narrow_the_search(words: list, width: int) -> None:
    """What a model finds unlikely, too: the words need all the room there is."""
    table = torch.randn(12, 12, generator=torch.Generator().manual_seed(1)) * 3
    limit = sum(max(len(form) for form in _forms(word)) for word in words)
    search = SEARCHES["forced"]([], frozenset([11]), limit, words=words, width=width)
    text = drive(search, markov(table), [3])[0].tokens
    assert all(any(_stands(form, text) for form in _forms(word)) for word in words), text


def _forms(word: list) -> list[list[int]]:
    return word if isinstance(word[0], list) else [word]


def test_what_the_prompt_says_does_not_count() -> None:
    search = SEARCHES["forced"]([], frozenset(), 3, words=[[2]], width=2)
    assert 2 in drive(search, markov(_table(0)), [2, 2])[0].tokens


def test_progress_by_hand() -> None:
    """Words [1, 2] and [1, 3] or [4]: the first token begins the first of them that waits."""
    start = Progress(read([[1, 2], [[1, 3], [4]]]))
    assert (start.wanted, start.bank) == ([1, 4], 0)
    begun = start.after(1)
    assert (begun.wanted, begun.bank) == ([2], 1)
    assert begun.after(2).bank == 2
    assert begun.after(2).wanted == [1, 4]
    assert begun.after(2).after(4).complete
    broken = begun.after(4)  # breaks [1, 2], and is the other word
    assert (broken.wanted, broken.met) == ([1], 1)
    assert begun.after(0).bank == 0
    assert begun.after(1).path == (1,)  # breaks it and begins again
    assert start.after(0) == start
    assert not start.complete


def test_banks_count_tokens_of_the_longest_word() -> None:
    start = Progress(read([[1, 2, 3], [4]]))
    assert [start.after(1).bank, start.after(1).after(2).bank, start.after(4).bank] == [1, 2, 3]


def test_places_are_shared_out_between_banks() -> None:
    """Of two places one goes to the text that met the word, however unlikely it is."""
    law = torch.tensor([0.6, 0.39, 0.009, 0.001]).log()
    search = SEARCHES["forced"]([], frozenset(), 4, words=[[3]], width=2)
    assert search.choose(Asked(law[None], [Path([0])])).tokens == (3, 0)


def test_a_word_that_filters_forbid() -> None:
    """Nothing is found with it; the best without is told rather than nothing."""
    search = SEARCHES["forced"](chain({"bad_words": ((2,),)}), frozenset([END]), 3, words=[[2]], width=3)
    found = drive(search, markov(_table(3)), [0])
    assert found
    assert found[0].finish == "length"
    assert 2 not in found[0].tokens


def test_refused() -> None:
    make = SEARCHES["forced"]
    with pytest.raises(ConfigError, match="need 5 tokens and max_tokens is 4"):
        make([], frozenset(), 4, words=[[1, 2, 3], [[4], [5, 6]]])
    with pytest.raises(ConfigError, match="token 7 ends texts"):
        make([], frozenset([7]), 9, words=[[1, 7]])
    with pytest.raises(ConfigError, match=r"token id 40 is not the model's; its ids are 0 … 39"):
        make([], frozenset(), 9, words=[[1, 40]]).check(40)
    make([], frozenset(), 9, words=[[1, 39]]).check(40)


def test_a_text_with_the_words_ends_though_others_are_likelier() -> None:
    """After the word [2] the end has 0.9: the two texts without it are likelier all the time, and wait for nothing."""
    law = torch.tensor(
        [[0.6, 0.39, 0.005, 0.005], [0.5, 0.49, 0.005, 0.005], [0.05, 0.04, 0.01, 0.9], [0.25] * 4]
    ).log()
    search = SEARCHES["forced"]([], frozenset([END]), 6, words=[[2]], width=3, length_penalty=0.0)
    best = drive(search, markov(law), [0])[0]
    assert best.tokens == (2, END)
    assert best.finish == "stop"
