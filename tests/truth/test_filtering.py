"""Filters against transformers' processors on random logits, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.infer.filters import chain

LAW = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def _kept(name: str, value: float, logits: torch.Tensor = LAW) -> list[int]:
    return chain({name: value})[0](logits)[0].isfinite().nonzero()[:, 0].tolist()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4), vocab=st.integers(2, 60), seed=st.integers(0, 10**6), grid=st.booleans(),
    temperature=st.floats(0.05, 5), top_k=st.integers(1, 70), top_p=st.floats(0.01, 0.999),
)  # fmt: skip
def test_equal_to_transformers(rows, vocab, seed, grid, temperature, top_k, top_p) -> None:
    """One by one and in a row; ``grid`` makes ties."""
    from transformers.generation import logits_process as theirs

    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 4
    logits = logits.round() if grid else logits
    ids = torch.zeros(rows, 1, dtype=torch.long)
    pairs = [
        ("temperature", temperature, theirs.TemperatureLogitsWarper(temperature)),
        ("top_k", top_k, theirs.TopKLogitsWarper(top_k)),
        ("top_p", top_p, theirs.TopPLogitsWarper(top_p)),
    ]
    expected = logits
    for name, value, processor in pairs:
        assert torch.equal(chain({name: value})[0](logits), processor(ids, logits)), name
        expected = processor(ids, expected)
    ours = logits
    for change in chain({name: value for name, value, _ in pairs}):
        ours = change(ours)
    assert torch.equal(ours, expected)


def test_temperature_by_hand() -> None:
    def entropy(logits):
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum().item()

    cool, warm = chain({"temperature": 0.5})[0](LAW), chain({"temperature": 2.0})[0](LAW)
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
