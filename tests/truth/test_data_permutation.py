"""The shuffle without memory is a shuffle."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.data.permutation import permuted


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4097])
def test_a_bijection_for_every_n_and_seed(n: int) -> None:
    for seed in (0, 1, 2**62):
        assert sorted(permuted(np.arange(n), n, seed).tolist()) == list(range(n))


def test_any_block_alone_is_the_same() -> None:
    whole = permuted(np.arange(1000), 1000, 5)
    assert np.array_equal(permuted(np.arange(990, 1000), 1000, 5), whole[990:])
    assert permuted(np.array([123]), 1000, 5)[0] == whole[123]


def test_larger_than_memory() -> None:
    n = 10**12
    found = permuted(np.arange(10_000), n, 3)
    assert len(set(found.tolist())) == 10_000
    assert 0.45 * n < found.mean() < 0.55 * n


def test_seeds_give_other_orders_and_no_place_is_preferred() -> None:
    """Each value falls on each place equally often (χ² with 15 degrees of freedom, 99.99 % bound 44.3)."""
    n, seeds = 16, 4000
    counts = np.zeros((n, n))
    for seed in range(seeds):
        counts[np.arange(n), permuted(np.arange(n), n, seed)] += 1
    chi = ((counts - seeds / n) ** 2 / (seeds / n)).sum(axis=1)
    assert chi.max() < 44.3


def test_neighbors_do_not_stay_neighbors() -> None:
    order = permuted(np.arange(100_000), 100_000, 9)
    assert (np.abs(np.diff(order)) == 1).mean() < 1e-4
    assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.02
