"""Look-up in the text by hand."""

from __future__ import annotations

import pytest
from chosen_rows import SmallRow

from danlu.core.errors import ConfigError
from danlu.infer.decoders import DECODERS
from danlu.infer.drafters import DRAFTERS

GREEDY = DECODERS["greedy"]()


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ([1, 2, 3, 4, 5, 1, 2], [3, 4, 5]),
        ([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], [4, 9, 1]),  # the latest
        ([7, 1, 2, 8, 8, 1, 2, 9, 7, 1, 2], [8, 8, 1]),  # three alike before two alike
        ([1, 2, 3, 4], []),
        ([5, 5, 5], [5, 5, 5]),  # a copy goes on into itself
        ([1, 2, 1, 2, 1, 2], [1, 2, 1]),
        ([4], []),
    ],
)
def test_what_came_after_the_same_words(text: list[int], guess: list[int]) -> None:
    """The same wherever the prompt ends."""
    for cut in range(len(text) + 1):
        drafter = DRAFTERS["ngram"](tokens=3)
        (found,) = drafter.propose([SmallRow(text[:cut], text[cut:])], GREEDY, 9)
        assert list(found.tokens) == guess
        assert found.laws is None


def test_no_more_than_there_is_room_for() -> None:
    row = SmallRow([5, 5, 5, 5], [])
    assert [len(DRAFTERS["ngram"](tokens=4).propose([row], GREEDY, most)[0].tokens) for most in (0, 1, 9)] == [0, 1, 4]


def test_settings_out_of_range() -> None:
    for settings in ({"tokens": 0}, {"tokens": 1.5}, {"shortest": 0}, {"longest": 1}):
        with pytest.raises(ConfigError, match="must be"):
            DRAFTERS["ngram"](**settings)
