"""Every filter keeps the manners of its kind."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.infer.filters import FILTERS, chain


def _logits(rows: int = 7, vocab: int = 40) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_neutral_value_is_left_out_and_a_strong_one_acts(name: str) -> None:
    assert chain({name: FILTERS[name].neutral}) == []
    (change,) = chain({name: FILTERS[name].strong})
    assert not torch.equal(change(_logits()), _logits())


@pytest.mark.parametrize("name", list(FILTERS))
def test_the_likeliest_stays_and_the_order_of_the_kept_too(name: str) -> None:
    logits = _logits()
    before = logits.clone()
    kept = chain({name: FILTERS[name].strong})[0](logits)
    assert torch.equal(logits, before), "the logits of the caller were changed"
    assert kept.shape == logits.shape
    assert kept.dtype == logits.dtype
    assert torch.equal(kept.argmax(-1), logits.argmax(-1))
    assert not kept.isnan().any()
    for row, old in zip(kept, logits, strict=True):
        alive = row.isfinite()
        assert torch.equal(row[alive].argsort(), old[alive].argsort())
        assert old[alive].min() > old[~alive].max() if (~alive).any() else True


@pytest.mark.parametrize("name", list(FILTERS))
def test_rows_are_filtered_alone(name: str) -> None:
    logits = _logits()
    change = chain({name: FILTERS[name].strong})[0]
    torch.testing.assert_close(change(logits), torch.cat([change(row[None]) for row in logits]), rtol=0, atol=0)


@pytest.mark.parametrize("name", list(FILTERS))
@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("-inf")])
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        chain({name: value})


def test_they_act_in_the_order_of_transformers_whatever_the_order_they_are_named_in() -> None:
    filters = chain({"top_p": 0.5, "temperature": 2.0, "top_k": 4})
    assert [FILTERS.name_of(part) for part in filters] == ["temperature", "top_k", "top_p"]
