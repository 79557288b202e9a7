"""Filters that know a row's text, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chosen_rows import SmallRow

from danlu.infer.filters import chain

LOGITS = torch.tensor([[2.0, -2.0, 1.0, 0.0, 3.0]])
GONE = float("-inf")


def _after(name: str, value: Any, prompt: list[int], tokens: list[int]) -> list[float]:
    return chain({name: value})[0](LOGITS, [SmallRow(prompt, tokens)])[0].tolist()


def test_repetition_divides_above_zero_and_multiplies_below_once_a_token() -> None:
    assert _after("repetition_penalty", 2.0, [0, 0, 0], [1, 1]) == [1.0, -4.0, 1.0, 0.0, 3.0]
    assert _after("repetition_penalty", 0.5, [0], [1]) == [4.0, -1.0, 1.0, 0.0, 3.0]


def test_presence_and_frequency_count_what_was_chosen_and_not_the_prompt() -> None:
    assert _after("presence_penalty", 0.5, [0, 1], [2, 2, 2, 4]) == [2.0, -2.0, 0.5, 0.0, 2.5]
    assert _after("frequency_penalty", 0.5, [0, 1], [2, 2, 2, 4]) == [2.0, -2.0, -0.5, 0.0, 2.5]
    assert _after("frequency_penalty", -1.0, [], [3]) == [2.0, -2.0, 1.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("size", "text", "gone"),
    [
        (1, [0, 4, 0], [0, 4]),
        (2, [1, 2, 3, 1], [2]),
        (2, [1, 2, 1, 3, 1], [2, 3]),
        (3, [1, 2, 4, 1, 2], [4]),
        (3, [1, 2, 4, 2], []),
        (3, [1], []),
        (2, [1, 1], [1]),
    ],
)
def test_no_run_of_tokens_is_completed_twice(size: int, text: list[int], gone: list[int]) -> None:
    """The same wherever the prompt ends."""
    expected = [GONE if token in gone else logit for token, logit in enumerate(LOGITS[0].tolist())]
    for cut in range(len(text) + 1):
        assert _after("no_repeat_ngram_size", size, text[:cut], text[cut:]) == expected


@pytest.mark.parametrize(
    ("words", "text", "gone"),
    [
        (((4,),), [], [4]),
        (((1, 2),), [1], [2]),
        (((1, 2),), [2], []),
        (((1, 2, 3), (2, 0), (4,)), [1, 2], [3, 0, 4]),
        (((1, 2, 3),), [2], []),
    ],
)
def test_bad_words_are_never_completed(words: Any, text: list[int], gone: list[int]) -> None:
    expected = [GONE if token in gone else logit for token, logit in enumerate(LOGITS[0].tolist())]
    for cut in range(len(text) + 1):
        assert _after("bad_words", words, text[:cut], text[cut:]) == expected


def test_min_tokens_holds_the_ends_back() -> None:
    assert _after("min_tokens", (2, (4, 1)), [0] * 9, [3]) == [2.0, GONE, 1.0, 0.0, GONE]
    assert _after("min_tokens", (2, (4, 1)), [], [3, 3]) == LOGITS[0].tolist()


def test_logit_bias_adds() -> None:
    assert _after("logit_bias", ((1, 5.5), (4, -100.0), (9, 3.0)), [], []) == [2.0, 3.5, 1.0, 0.0, -97.0]
