"""Filters that shape the law a token is drawn from, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from chosen_rows import SmallRow

from danlu.infer.filters import chain

LAW = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def _kept(name: str, value: float, logits: torch.Tensor = LAW) -> list[int]:
    return chain({name: value})[0](logits, [SmallRow()])[0].isfinite().nonzero()[:, 0].tolist()


def test_temperature_by_hand() -> None:
    def entropy(logits):
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum().item()

    cool, warm = chain({"temperature": 0.5})[0](LAW, [SmallRow()]), chain({"temperature": 2.0})[0](LAW, [SmallRow()])
    squares = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    torch.testing.assert_close(cool.softmax(-1)[0], squares / squares.sum())
    assert entropy(cool) < entropy(LAW) < entropy(warm) < math.log(4)


@pytest.mark.parametrize(("k", "kept"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_top_k_by_hand(k: int, kept: list[int]) -> None:
    assert _kept("top_k", k) == kept


def test_top_k_keeps_what_ties_with_the_last() -> None:
    assert _kept("top_k", 2, torch.tensor([[1.0, 3.0, 1.0, 0.0, 1.0]])) == [0, 1, 2, 4]


@pytest.mark.parametrize(("p", "kept"), [(0.01, [0]), (0.49, [0]), (0.51, [0, 1]), (0.79, [0, 1]), (0.81, [0, 1, 2])])
def test_top_p_by_hand(p: float, kept: list[int]) -> None:
    assert _kept("top_p", p) == kept


@pytest.mark.parametrize(("share", "kept"), [(0.09, [0, 1, 2, 3]), (0.2, [0, 1, 2]), (0.59, [0, 1]), (1.0, [0])])
def test_min_p_by_hand(share: float, kept: list[int]) -> None:
    """Shares of the likeliest: 1, 0.6, 0.3, 0.1."""
    assert _kept("min_p", share) == kept


def test_typical_p_by_hand() -> None:
    """Entropy of (0.5, 0.3, 0.15, 0.05) is 1.142 nats; surprises 0.693, 1.204, 1.897, 2.996: the second is nearest."""
    assert _kept("typical_p", 0.2) == [1]
    assert _kept("typical_p", 0.31) == [0, 1]
    assert _kept("typical_p", 0.81) == [0, 1, 2]


@pytest.mark.parametrize(("epsilon", "kept"), [(0.04, [0, 1, 2, 3]), (0.06, [0, 1, 2]), (0.2, [0, 1]), (0.6, [0])])
def test_epsilon_cutoff_by_hand(epsilon: float, kept: list[int]) -> None:
    assert _kept("epsilon_cutoff", epsilon) == kept


@pytest.mark.parametrize(("epsilon", "kept"), [(0.09, [0, 1, 2]), (0.3, [0, 1]), (0.81, [0, 1]), (0.02, [0, 1, 2, 3])])
def test_eta_cutoff_by_hand(epsilon: float, kept: list[int]) -> None:
    """exp(-H) = 0.319: thresholds min(ε, 0.319 · √ε) are 0.090, 0.175, 0.287 and 0.02."""
    assert _kept("eta_cutoff", epsilon) == kept
