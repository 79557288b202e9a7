"""Every decoder chooses a row's token from that row alone."""

from __future__ import annotations

import pytest
import torch
from chosen_rows import SmallRow, rows_of

from danlu.infer.decoders import DECODERS
from danlu.infer.filters import chain

ROWS = 9
VALUES = {"temperature": 0.8, "top_k": 10, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2}


def _logits() -> torch.Tensor:
    return torch.randn(ROWS, 30, generator=torch.Generator().manual_seed(1)) * 2


@pytest.mark.parametrize("name", list(DECODERS))
def test_one_token_a_row_the_same_in_any_company(name: str) -> None:
    decoder = DECODERS[name](chain(VALUES))
    logits = _logits()
    together = decoder.choose(logits, rows_of(ROWS))
    assert together.shape == (ROWS,)
    assert together.dtype == torch.long
    assert ((together >= 0) & (together < 30)).all()
    for row in range(ROWS):
        alone = DECODERS[name](chain(VALUES)).choose(logits[row : row + 1], [rows_of(ROWS)[row]])
        assert alone.item() == together[row].item()


@pytest.mark.parametrize("name", list(DECODERS))
def test_only_what_the_filters_leave_is_chosen(name: str) -> None:
    decoder, logits = DECODERS[name](chain({"top_k": 2})), _logits()
    allowed = logits.topk(2, -1).indices
    for seed in range(50):
        tokens = decoder.choose(logits, rows_of(ROWS, seed=seed))
        assert (tokens[:, None] == allowed).any(-1).all()


@pytest.mark.parametrize("name", list(DECODERS))
def test_what_is_chosen_has_probability_in_the_law(name: str) -> None:
    decoder = DECODERS[name](chain(VALUES))
    for seed in range(20):
        rows = rows_of(ROWS, seed=seed)
        law = decoder.law(_logits(), rows)
        torch.testing.assert_close(law.sum(-1), torch.ones(ROWS, dtype=law.dtype))
        assert (law.gather(-1, decoder.choose(_logits(), rows)[:, None]) > 0).all()


@pytest.mark.parametrize("name", list(DECODERS))
def test_filters_that_leave_a_row_nothing_leave_that_row_alone(name: str) -> None:
    """Every token of a small vocabulary was said: a ban on repeating any has nothing left to offer."""
    decoder = DECODERS[name](chain({"no_repeat_ngram_size": 1, "bad_words": ((0,),)}))
    rows = [SmallRow(range(30), []), SmallRow([], list(range(29)))]
    logits = _logits()[:2]
    assert torch.equal(decoder.filtered(logits, rows)[0], logits[0])
    assert decoder.choose(logits, rows)[1] == 29
