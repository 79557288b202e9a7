"""Every decoder chooses a row's token from that row alone."""

from __future__ import annotations

import pytest
import torch

from danlu.infer.decoders import DECODERS
from danlu.infer.filters import chain

ROWS = 9


def _logits() -> torch.Tensor:
    return torch.randn(ROWS, 30, generator=torch.Generator().manual_seed(1)) * 2


def _generators(seeds: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("name", list(DECODERS))
def test_one_token_a_row_the_same_in_any_company(name: str) -> None:
    decoder = DECODERS[name](chain({"temperature": 0.8, "top_k": 10}))
    logits = _logits()
    together = decoder.choose(logits, _generators(range(ROWS)))
    assert together.tokens.shape == (ROWS,)
    assert together.tokens.dtype == torch.long
    assert ((together.tokens >= 0) & (together.tokens < 30)).all()
    assert together.parents is None or together.parents.shape == (ROWS,)
    for row in range(ROWS):
        alone = decoder.choose(logits[row : row + 1], _generators(range(row, row + 1)))
        assert alone.tokens.item() == together.tokens[row].item()


@pytest.mark.parametrize("name", list(DECODERS))
def test_only_what_the_filters_leave_is_chosen(name: str) -> None:
    decoder, logits = DECODERS[name](chain({"top_k": 2})), _logits()
    allowed = logits.topk(2, -1).indices
    for seed in range(50):
        tokens = decoder.choose(logits, _generators(range(seed, seed + ROWS))).tokens
        assert (tokens[:, None] == allowed).any(-1).all()
