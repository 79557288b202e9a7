"""A shuffle that needs no memory: the place of any index in a random order of n, computed by itself."""

from __future__ import annotations

import numpy as np

from ..core.rng import derive

ROUNDS = 6


def permuted(index: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The values at ``index`` of a pseudo-random permutation of 0 … n - 1; the seed names the permutation.

    A Feistel network over 2^(2h) ≥ n values, walked again wherever it leaves [0, n): a bijection for every n.
    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", §4 (cycle walking).
    Truth:  tests/truth/test_data_permutation.py (a bijection for every n; order statistics of a uniform shuffle).
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    keys = [np.uint64(derive(seed, "feistel", i)) for i in range(ROUNDS)]
    value = _network(np.asarray(index, np.uint64), half, keys)
    while len(outside := np.flatnonzero(value >= n)):
        value[outside] = _network(value[outside], half, keys)
    return value.astype(np.int64)


def _network(value: np.ndarray, half: int, keys: list[np.uint64]) -> np.ndarray:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = value >> shift, value & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << shift) | right


def _mixed(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
