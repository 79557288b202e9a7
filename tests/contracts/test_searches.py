"""What every search keeps, on a model that is a table and on a real one through the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from searching import drive, markov, reader
from talkers import small_model, small_tokenizer
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.engine import Engine, Request
from danlu.infer.filters import chain
from danlu.infer.sampling import Sampling
from danlu.infer.searches import SEARCHES, Answer

VOCAB, LIMIT = 24, 9
STOPS = frozenset([1, 17])


def _table(seed: int) -> Tensor:
    return torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(seed)) * 2


def _found(name: str, seed: int, answers: int = 1, filters: tuple = (), **more: object) -> list[Answer]:
    settings = {**SEARCHES[name].strong, **more}
    return drive(Spec(name, settings).build(SEARCHES, filters, STOPS, LIMIT, answers), markov(_table(seed)), [2, 3])


@pytest.mark.parametrize("name", list(SEARCHES))
@pytest.mark.parametrize("seed", range(5))
def test_answers_are_whole(name: str, seed: int) -> None:
    found = _found(name, seed)
    assert len(found) == 1
    answer, laws = found[0], _table(seed).log_softmax(-1)
    assert 1 <= len(answer.tokens) <= LIMIT
    assert not STOPS & set(answer.tokens[:-1]), "it goes on behind its end"
    assert answer.finish == ("stop" if answer.tokens[-1] in STOPS else "length")
    assert answer.finish == "stop" or len(answer.tokens) == LIMIT
    steps = zip((3, *answer.tokens[:-1]), answer.tokens, strict=True)
    assert answer.logprobs == pytest.approx([float(laws[a, b]) for a, b in steps], abs=1e-5)


@pytest.mark.parametrize("name", list(SEARCHES))
def test_the_same_twice(name: str) -> None:
    assert _found(name, 3) == _found(name, 3)


@pytest.mark.parametrize("name", list(SEARCHES))
def test_answers_differ_and_fall(name: str) -> None:
    try:
        found = _found(name, 1, answers=3)
    except ConfigError:
        return  # it says that it finds one
    assert len({answer.tokens for answer in found}) == len(found) == 3
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)


@pytest.mark.parametrize("name", list(SEARCHES))
def test_filters_are_kept(name: str) -> None:
    banned = _found(name, 2)[0].tokens[0]
    if any(banned in word for word in SEARCHES[name].strong.get("words", [])):
        return
    filters = tuple(chain({"bad_words": ((banned,),)}))
    assert banned not in _found(name, 2, filters=filters)[0].tokens


@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_search_wider_than_the_vocabulary(name: str) -> None:
    width = 2 * VOCAB
    assert len(_found(name, 4, width=width)[0].tokens) <= LIMIT


@pytest.mark.parametrize("name", list(SEARCHES))
@pytest.mark.parametrize("width", [0, -1, 1.5, "4", None, True, 10**9, float("nan")])
def test_widths_that_are_none(name: str, width: object) -> None:
    with pytest.raises(ConfigError, match=r"search\.width"):
        SEARCHES[name]([], STOPS, LIMIT, **{**SEARCHES[name].strong, "width": width})


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SEARCHES))
def test_the_engine_finds_the_same(name: str, tmp_path: Path) -> None:
    """Two requests side by side, with what others leave in the cache, and one that does not search."""
    model, tokenizer = small_model("llama"), small_tokenizer(tmp_path)
    prompts, search = [[5, 9, 30], [7, 40, 40, 8, 21]], Spec(name, SEARCHES[name].strong)
    sampling = Sampling(max_tokens=LIMIT, search=search)
    engine = Engine(model, tokenizer)
    numbers = [engine.submit(Request(prompt=tuple(prompt), sampling=sampling)) for prompt in prompts]
    engine.submit(Request(prompt=(5, 9, 30), sampling=Sampling(max_tokens=LIMIT)))
    told: dict[int, list[int]] = {number: [] for number in numbers}
    while engine.busy:
        for event in engine.step():
            if event.number in told:
                told[event.number] += [token.id for token in event.tokens]
    for number, prompt in zip(numbers, prompts, strict=True):
        alone = search.build(SEARCHES, [], frozenset(tokenizer.stops), LIMIT, 1)
        assert told[number] == list(drive(alone, reader(model), prompt)[0].tokens)
    assert engine.stats.blocks_used == 0
