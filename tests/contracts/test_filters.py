"""Every filter keeps the manners of its kind."""

from __future__ import annotations

import pytest
import torch
from chosen_rows import SmallRow, rows_of

from danlu.core.errors import ConfigError
from danlu.infer.filters import FILTERS, chain

WRONG = [(name, value) for name in FILTERS for value in FILTERS[name].wrong]


def _logits(rows: int = 7, vocab: int = 40) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_neutral_value_is_left_out_and_a_strong_one_acts(name: str) -> None:
    assert chain({name: FILTERS[name].neutral}) == []
    (change,) = chain({name: FILTERS[name].strong})
    assert not torch.equal(change(_logits(), rows_of(7)), _logits())


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_neutral_value_would_change_nothing(name: str) -> None:
    change = FILTERS[name](value=FILTERS[name].neutral)
    assert torch.equal(change(_logits(), rows_of(7)), _logits())


@pytest.mark.parametrize("name", list(FILTERS))
def test_what_is_given_stays_and_what_comes_is_like_it(name: str) -> None:
    logits, rows = _logits(), rows_of(7)
    before = [(list(row.prompt), list(row.tokens), row.random.get_state()) for row in rows]
    kept = chain({name: FILTERS[name].strong})[0](logits, rows)
    assert torch.equal(logits, _logits()), "the logits of the caller were changed"
    for row, (prompt, tokens, state) in zip(rows, before, strict=True):
        assert (list(row.prompt), list(row.tokens)) == (prompt, tokens)
        assert torch.equal(row.random.get_state(), state), "a filter drew a number"
    assert kept.shape == logits.shape
    assert kept.dtype == logits.dtype
    assert not kept.isnan().any()
    assert (kept > float("-inf")).any(-1).all()


@pytest.mark.parametrize("name", [name for name in FILTERS if FILTERS[name].shapes])
def test_what_only_shapes_keeps_the_order_of_what_it_keeps_and_knows_no_history(name: str) -> None:
    logits = _logits()
    change = chain({name: FILTERS[name].strong})[0]
    kept = change(logits, rows_of(7))
    assert torch.equal(kept, change(logits, [SmallRow()] * 7))
    for row, old in zip(kept, logits, strict=True):
        alive = row.isfinite()
        assert torch.equal(row[alive].argsort(), old[alive].argsort())
    assert chain({name: FILTERS[name].strong}, greedy=True) == []


@pytest.mark.parametrize("name", list(FILTERS))
def test_rows_are_filtered_alone_whatever_was_asked_before(name: str) -> None:
    logits, rows = _logits(), rows_of(7)
    change = chain({name: FILTERS[name].strong})[0]
    alone = [chain({name: FILTERS[name].strong})[0](logits[i : i + 1], [row]) for i, row in enumerate(rows)]
    for _ in range(2):
        torch.testing.assert_close(change(logits, rows), torch.cat(alone), rtol=0, atol=0)
    shuffled = [4, 1, 6]
    again = change(logits[shuffled], [rows[i] for i in shuffled])
    torch.testing.assert_close(again, torch.cat([alone[i] for i in shuffled]), rtol=0, atol=0)


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_history_that_grows_and_is_cut_back_is_followed(name: str) -> None:
    """As drafts and beams do: what a row gets depends on its text alone, not on what it was in between."""
    change, logits = chain({name: FILTERS[name].strong})[0], _logits(1)
    row = SmallRow([5, 3, 5], [], torch.Generator())
    drawn = torch.randint(40, (60,), generator=torch.Generator().manual_seed(3)).tolist()
    for step, token in enumerate(drawn):
        row.tokens = [*row.tokens, token] if step % 7 else [*row.tokens[: step % 5], token, token]
        fresh = chain({name: FILTERS[name].strong})[0](logits, [SmallRow(row.prompt, list(row.tokens))])
        assert torch.equal(change(logits, [row]), fresh), step


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_whole_vocabulary_of_history_and_tokens_beyond_it_do_no_harm(name: str) -> None:
    """An encoder may have a larger vocabulary than the model that answers."""
    row = SmallRow([*range(40), 41, 50_000], [39, 45, *range(40)])
    kept = chain({name: FILTERS[name].strong})[0](_logits(1), [row])
    assert kept.shape == (1, 40)
    assert not kept.isnan().any()


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        chain({name: value})


def test_each_has_its_own_place_in_the_order() -> None:
    assert len({FILTERS[name].order for name in FILTERS}) == len(list(FILTERS))
    ordered = sorted(FILTERS, key=lambda name: FILTERS[name].order)
    filters = chain({name: FILTERS[name].strong for name in reversed(ordered)})
    assert [FILTERS.name_of(part) for part in filters] == ordered
    shaping = [FILTERS[name].shapes for name in ordered]
    assert shaping == sorted(shaping), "what shapes acts after what knows the history"
