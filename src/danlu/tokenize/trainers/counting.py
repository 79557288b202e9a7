"""Merging by counts of words: the same words in any order give the same merges."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from . import watched

BREAK = "\0"  # between words in what the library reads
CHUNK = 1 << 20  # characters given at once


def alphabet(words: Counter[str], size: int) -> list[str]:
    """The characters that come most often, at most ``size``; of equals those that come first in Unicode."""
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for letter in word:
            counts[letter] += times
    counts.pop(BREAK, None)
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:size])


def merged(words: Counter[str], letters: list[str], count: int) -> list[tuple[str, str]]:
    """At most ``count`` merges of the words' characters; a character outside ``letters`` ends a word."""
    if count <= 0:
        return []
    learner = Backend(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split(BREAK, "removed")
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=len(letters) + count,
        initial_alphabet=letters,
        min_frequency=2,
        special_tokens=[],
        show_progress=watched(),
    )
    learner.train_from_iterator(_repeated(words, set(letters)), trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def _repeated(words: Counter[str], letters: set[str]) -> Iterator[str]:
    for word, times in words.items():
        known = "".join(letter if letter in letters else BREAK for letter in word) + BREAK
        step = max(1, CHUNK // len(known))
        for done in range(0, times, step):
            yield known * min(step, times - done)
