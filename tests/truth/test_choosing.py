"""Greedy by hand; sampling against the law it must follow."""

from __future__ import annotations

import torch
from chosen_rows import SmallRow

from danlu.infer.decoders import DECODERS
from danlu.infer.filters import chain

LAW = torch.tensor([0.4, 0.0, 0.3, 0.2, 0.1])


def _row(seed: int) -> SmallRow:
    return SmallRow(random=torch.Generator().manual_seed(seed))


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 1.0], [-3.0, -2.0, -1.0]])
    assert DECODERS["greedy"]().choose(logits, []).tolist() == [1, 0, 2]


def _drawn(law: torch.Tensor, draws: int, **filters: float) -> torch.Tensor:
    decoder = DECODERS["sample"](chain(filters))
    row = _row(5)
    logits = law.log().expand(100, -1)
    tokens = [decoder.choose(logits, [row] * 100) for _ in range(draws // 100)]
    return torch.cat(tokens).bincount(minlength=len(law)).double()


def _chi2(counts: torch.Tensor, law: torch.Tensor) -> float:
    expected = law / law.sum() * counts.sum()
    alive = law > 0
    assert counts[~alive].sum() == 0, "a token without probability was drawn"
    return ((counts - expected)[alive] ** 2 / expected[alive]).sum().item()


def test_samples_follow_the_law() -> None:
    """χ² with 3 degrees of freedom exceeds 16.3 once in a thousand; the seed is fixed."""
    assert _chi2(_drawn(LAW, 40_000), LAW) < 16.3
    assert _chi2(_drawn(LAW, 40_000), torch.tensor([0.38, 0.0, 0.32, 0.2, 0.1])) > 16.3, "the test would see no error"


def test_samples_follow_the_filtered_law() -> None:
    squared = torch.tensor([0.16, 0.0, 0.09, 0.0, 0.0])
    assert _chi2(_drawn(LAW, 20_000, temperature=0.5, top_k=2), squared) < 10.8


def test_the_threshold_by_hand() -> None:
    """The generator's own uniform number u picks the first token whose cumulated probability exceeds it."""
    reached = LAW.double().log().softmax(-1).cumsum(-1)
    for seed in range(200):
        u = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        token = DECODERS["sample"]().choose(LAW.log()[None], [_row(seed)]).item()
        assert token == next(i for i, r in enumerate(reached) if r > u)


def test_certainty() -> None:
    """One token left: it is chosen whatever the draw, in a vocabulary of 100,000 too."""
    logits = torch.full((4, 100_000), float("-inf"))
    logits[torch.arange(4), torch.tensor([0, 7, 99_998, 99_999])] = -50.0
    rows = [_row(seed) for seed in range(4)]
    for _ in range(20):
        assert DECODERS["sample"]().choose(logits, rows).tolist() == [0, 7, 99_998, 99_999]
