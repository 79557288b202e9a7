"""Modified Kneser-Ney against a direct recursion in exact fractions, and what every model of language must satisfy."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from danlu.core.rng import Rng
from danlu.life.kneser_ney import KneserNey, bits_per_byte, tokens_bits_per_byte

TEXT = [0, 1, 2, 0, 1, 0, 1, 2, 2, 0, 1, 1, 2, 0, 0, 2, 1, 2, 0, 1, 2, 1, 0, 0, 0, 1, 2, 0, 1, 3, 3, 0]


def slowly(training: list[list[int]], symbols: int, order: int):
    """p(word, history) from the book: dictionaries and fractions, one probability at a time."""
    padded = [["^"] * (order - 1) + list(t) for t in training]
    counts = [Counter() for _ in range(order + 1)]
    for text in padded:
        for end in range(order - 1, len(text)):
            counts[order][tuple(text[end - order + 1 : end + 1])] += 1
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(gram[1:] for gram in counts[n + 1])  # distinct longer grams: one each

    def discount(n: int, count: int) -> Fraction:
        of = Counter(counts[n].values())
        n1, n2, n3, n4 = (of[k] for k in (1, 2, 3, 4))
        d = [Fraction(1, 2), Fraction(1), Fraction(3, 2)]
        if n1 and n2 and n3:
            y = Fraction(n1, n1 + 2 * n2)
            new = [1 - 2 * y * Fraction(n2, n1), 2 - 3 * y * Fraction(n3, n2), 3 - 4 * y * Fraction(n4, n3)]
            d = new if all(0 <= x <= k for k, x in enumerate(new, 1)) else d
        return d[min(count, 3) - 1]

    def chance(word: int, history: tuple, n: int) -> Fraction:
        if n == 0:
            return Fraction(1, symbols)
        history = history[len(history) - (n - 1) :]
        after = {g[-1]: c for g, c in counts[n].items() if g[:-1] == history}
        lower = chance(word, history[1:], n - 1)
        if not after:
            return lower
        total = sum(after.values())
        freed = sum(min(discount(n, c), c) for c in after.values())
        own = max(after.get(word, 0) - discount(n, after[word]), Fraction(0)) if word in after else Fraction(0)
        return own / total + freed / total * lower

    return lambda word, history: chance(word, tuple(history), order)


def bits_slowly(chance, held_out: list[list[int]], order: int) -> float:
    total = 0.0
    for text in held_out:
        padded = ["^"] * (order - 1) + text
        for end in range(order - 1, len(padded)):
            total -= math.log2(chance(padded[end], padded[end - order + 1 : end]))
    return total


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equal_to_exact_fractions(order: int) -> None:
    rng = Rng(4, order)
    training = [TEXT, [rng.below(4) for _ in range(60)], [3, 3, 1]]
    held_out = [[0, 1, 2, 0, 1, 2, 2], [3, 3, 3, 0, 4, 1, 0], [rng.below(5) for _ in range(30)]]
    model = KneserNey([np.array(t) for t in training], symbols=5, order=order)
    expected = bits_slowly(slowly(training, 5, order), held_out, order)
    assert model.bits([np.array(t) for t in held_out]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_chances_after_any_history_sum_to_one(order: int) -> None:
    model = KneserNey([np.array(TEXT)], symbols=5, order=order)
    for history in product(range(5), repeat=order - 1):
        given = model.bits([np.array(history)])
        total = sum(2.0 ** -(model.bits([np.array([*history, word])]) - given) for word in range(5))
        assert total == pytest.approx(1.0, abs=1e-9), history


def test_a_pattern_is_learnt_and_noise_costs_its_entropy() -> None:
    rng = Rng(1, "noise")
    noise = [bytes(rng.below(4) for _ in range(4000)) for _ in range(2)]
    assert bits_per_byte([b"abcd" * 500], [b"abcd" * 100]) < 0.1
    assert bits_per_byte([noise[0]], [noise[1]], order=2) == pytest.approx(2.0, abs=0.05)


def test_longer_contexts_help_on_text_and_beat_gzip() -> None:
    words = ["the", "man", "who", "sees", "a", "dog", "cat", "that", "and", "runs", "the", "sees", "dog"]
    rng = Rng(2, "words")
    text = [" ".join(rng.choice(words) for _ in range(3000)).encode() for _ in range(2)]
    found = [bits_per_byte(text[:1], text[1:], order=n) for n in (1, 2, 3, 5)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 8 * len(gzip.compress(text[1])) / len(text[1])


def test_tokens_are_spread_over_their_bytes() -> None:
    training, held_out = [[0, 1, 2] * 40], [[0, 1, 2] * 4]
    model = KneserNey([np.array(training[0])], symbols=3, order=3)
    whole = tokens_bits_per_byte(training, held_out, symbols=3, bytes_=36, order=3)
    assert whole == pytest.approx(model.bits([np.array(held_out[0])]) / 36)
