"""A 5-gram model with modified Kneser-Ney smoothing: what a neural model must beat to be worth its training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts do not determine them (as KenLM's lmplz has them)


@dataclass(frozen=True)
class _Order:
    """All n-grams of one length, by their number: what they count and how they end a context."""

    keys: Ids  # sorted: context number · symbols + last symbol
    kept: Floats  # max(count - discount, 0) / total of the context
    left: Floats  # by context number: the mass the discounts free, or 1 for a context that nothing followed


class KneserNey:
    """Interpolated modified Kneser-Ney over symbols 0 … ``symbols`` - 1, counted from sequences.

    p(w | h) = max(c(hw) - D(c(hw)), 0) / c(h·) + γ(h) · p(w | h shortened by its oldest symbol); the longest order
    counts occurrences and each shorter one counts the distinct symbols seen before it; D takes three values an order,
    for counts 1, 2 and ≥ 3; the shortest falls back on 1 / symbols. A sequence begins after ``order`` - 1 boundary
    symbols, which are given and never predicted.

    Source: Chen, Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", §4.1.6 and eq. 31.
    Truth:  tests/truth/test_kneser_ney.py (exact fractions by an independent recursion; sums to 1).
    """

    def __init__(self, sequences: Sequence[Ids], *, symbols: int, order: int = 5) -> None:
        self.symbols, self.order = symbols, order
        stream, predicted = self._joined(sequences)
        numbers = np.zeros_like(stream)  # the (n - 1)-gram that ends at each place, by number
        grams: list[tuple[Ids, Ids, Ids]] = []  # (keys, occurrences, number at each place) of each length
        for _ in range(order):
            before = np.concatenate(([0], numbers[:-1]))
            keys, numbers = np.unique(before * (symbols + 1) + stream, return_inverse=True)
            grams.append((keys, np.bincount(numbers[predicted], minlength=len(keys)), numbers))
        self.orders = [self._smoothed(grams, n, predicted) for n in range(order)]

    def bits(self, sequences: Sequence[Ids]) -> float:
        """-Σ log2 p over every symbol of every sequence."""
        stream, predicted = self._joined(sequences)
        chance = np.full(len(stream), 1.0 / self.symbols)
        context: Ids = np.zeros_like(stream)  # number of the context before each place, -1 if it was never seen
        for order in self.orders:
            keys = context * (self.symbols + 1) + stream
            place = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            found = (context >= 0) & (order.keys[place] == keys)
            left = np.where(context >= 0, order.left[np.maximum(context, 0)], 1.0)
            chance = np.where(found, order.kept[place], 0.0) + left * chance
            context = np.concatenate(([-1], np.where(found, place, -1)[:-1]))
        return float(-np.log2(chance[predicted]).sum())

    def _joined(self, sequences: Sequence[Ids]) -> tuple[Ids, NDArray[np.bool_]]:
        """One stream with boundary symbols before each sequence, and which of its places are predicted."""
        edge = np.full(self.order - 1, self.symbols, dtype=np.int64)
        stream = np.concatenate([part for s in sequences for part in (edge, np.asarray(s, dtype=np.int64))])
        return stream, stream != self.symbols

    def _smoothed(self, grams: list[tuple[Ids, Ids, Ids]], n: int, predicted: NDArray[np.bool_]) -> _Order:
        keys, counts, numbers = grams[n]
        if n + 1 < self.order:
            counts = self._continuations(grams[n + 1], numbers, len(keys))
        contexts = keys // (self.symbols + 1)
        size = len(grams[n - 1][0]) if n else 1
        discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
        total = np.bincount(contexts, counts, minlength=size)
        freed = np.bincount(contexts, np.minimum(discounts, counts), minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            kept = np.maximum(counts - discounts, 0.0) / total[contexts]
            left = np.where(total > 0, freed / total, 1.0)
        return _Order(keys, np.where(counts > 0, kept, 0.0), left)

    def _continuations(self, longer: tuple[Ids, Ids, Ids], numbers: Ids, size: int) -> Ids:
        """For each n-gram, how many distinct symbols were seen before it: the longer n-grams that end in it."""
        keys, occurrences, places = longer
        ends = np.zeros(len(keys), dtype=np.int64)
        ends[places] = numbers  # every place of a longer n-gram ends in the same shorter one
        return np.bincount(ends[occurrences > 0], minlength=size)


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """D1, D2, D3+ = k - (k + 1) · Y · n(k + 1) / n(k), Y = n1 / (n1 + 2 n2), n(k) n-grams having count k."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else FALLBACK


def bits_per_byte(training: Sequence[bytes], held_out: Sequence[bytes], *, order: int = 5) -> float:
    """Of the held-out texts under a model of bytes counted from the training texts."""
    model = KneserNey([_symbols(t) for t in training], symbols=256, order=order)
    return model.bits([_symbols(t) for t in held_out]) / sum(map(len, held_out))


def tokens_bits_per_byte(
    training: Sequence[Sequence[int]], held_out: Sequence[Sequence[int]], *, symbols: int, bytes_: int, order: int = 5
) -> float:
    """The same over token ids, spread over the bytes they stand for."""
    model = KneserNey([np.array(t, dtype=np.int64) for t in training], symbols=symbols, order=order)
    total = model.bits([np.array(t, dtype=np.int64) for t in held_out])
    return total / bytes_ if bytes_ else math.inf


def _symbols(text: bytes) -> Ids:
    return np.frombuffer(text, dtype=np.uint8).astype(np.int64)
