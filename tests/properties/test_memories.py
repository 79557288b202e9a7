"""What is kept of a text is what the whole text would say, however it grew and was cut back."""

from __future__ import annotations

from collections import Counter

import torch
from chosen_rows import SmallRow
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.infer.memories import Memories, Successors, Tally

TEXTS = st.lists(st.integers(0, 5), max_size=12)


@settings(max_examples=150, deadline=None)
@given(prompt=TEXTS, histories=st.lists(TEXTS, min_size=1, max_size=8))
def test_counts_are_those_of_the_text(prompt: list[int], histories: list[list[int]]) -> None:
    row = SmallRow(tuple(prompt), [], torch.Generator())
    whole, answers = Memories(Tally, prompts=True), Memories(Tally, prompts=False)
    for row.tokens in histories:
        for memories, text in ((whole, prompt + row.tokens), (answers, row.tokens)):
            ids, counts = memories.of(row).told()
            told = {token: int(count) for token, count in zip(ids.tolist(), counts.tolist(), strict=True) if count}
            assert told == dict(Counter(text))


@settings(max_examples=150, deadline=None)
@given(prompt=TEXTS, histories=st.lists(TEXTS, min_size=1, max_size=8), size=st.integers(0, 3))
def test_successors_are_those_of_the_text(prompt: list[int], histories: list[list[int]], size: int) -> None:
    row = SmallRow(prompt, [], torch.Generator())
    memories = Memories(lambda given: Successors(given, size), prompts=True)
    for row.tokens in histories:
        text = prompt + row.tokens
        runs = {i + size for i in range(len(text) - size) if text[i : i + size] == text[len(text) - size :]}
        kept = memories.of(row)
        assert kept.text == text
        assert kept.places() == sorted(runs if len(text) >= size else ())


def test_a_row_that_is_gone_is_forgotten() -> None:
    memories = Memories(Tally, prompts=True)
    for _ in range(5):
        memories.of(SmallRow([1, 2], [3], torch.Generator()))
    assert len(memories.kept) == 0


def test_another_prompt_behind_the_same_generator_is_another_text() -> None:
    memories, random = Memories(Tally, prompts=True), torch.Generator()
    memories.of(SmallRow([1, 2], [3], random))
    assert memories.of(SmallRow([4], [], random)).told()[0].tolist() == [4]
