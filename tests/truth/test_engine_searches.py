"""Searches and contrasts in the engine: what they find alone, in whatever company, room and order of blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from searching import Reader, contrasted, drive, greedy, reader
from served import drained, served
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.contrasts import CONTRASTS, Voices
from danlu.infer.engine import Engine
from danlu.infer.filters import chain
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.searches import SEARCHES
from danlu.infer.settings import EngineSettings
from danlu.nn.model import Model
from danlu.tokenize import Tokenizer

PROMPTS = [[5, 17, 40], [77] * 12, list(range(30, 61))]
LIMIT = 10
BEAM = {"use": "beam", "width": 4, "length_penalty": 0.6}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model(kv_heads=2)


def _sampling(**more: Any) -> Sampling:
    return Sampling(max_tokens=LIMIT, **more)


def _alone(model: Model, tokenizer: Tokenizer, prompt: list[int], search: dict, answers: int = 1) -> list[list[int]]:
    made = Spec.read(search).build(SEARCHES, [], frozenset(tokenizer.stops), LIMIT, answers)
    return [list(answer.tokens) for answer in drive(made, reader(model), prompt)]


def test_all_answers_of_a_beam(model: Model, tokenizer: Tokenizer) -> None:
    found = served(Engine(model, tokenizer), PROMPTS, _sampling(n=3, search=BEAM))
    for prompt, answers in zip(PROMPTS, found, strict=True):
        assert [one.tokens for one in answers] == _alone(model, tokenizer, prompt, BEAM, 3)
        assert len({one.text for one in answers}) == 3
        assert {one.finish for one in answers} <= {"stop", "length"}


SEVERAL = [BEAM, {"use": "contrastive", "width": 3}, {"use": "diverse", "width": 4}]


@pytest.mark.parametrize("search", SEVERAL)
def test_prompts_in_pieces_and_small_blocks(model: Model, tokenizer: Tokenizer, search: dict) -> None:
    """Blocks are shared and copied all the time."""
    engine = Engine(model, tokenizer, settings=EngineSettings(block=2, budget=5))
    found = served(engine, PROMPTS, _sampling(search=search))
    assert [[answers[0].tokens] for answers in found] == [_alone(model, tokenizer, ids, search) for ids in PROMPTS]


@pytest.mark.parametrize("search", SEVERAL)
def test_rows_that_are_thrown_out_and_read_again(model: Model, tokenizer: Tokenizer, search: dict) -> None:
    prompts, limit = [[5, 17, 40], [9], [7, 7], [60, 3]], 20
    engine = Engine(model, tokenizer, settings=EngineSettings(rows=16, block=2, cache_bytes=60_000))
    found = served(engine, prompts, Sampling(max_tokens=limit, stop_ids=(), search=Spec.read(search)))
    assert engine.stats.preemptions > 0
    for prompt, answers in zip(prompts, found, strict=True):
        alone = drive(Spec.read(search).build(SEARCHES, [], frozenset(), limit, 1), reader(model), prompt)
        assert answers[0].tokens == list(alone[0].tokens)


def test_a_prompt_that_was_read_before(model: Model, tokenizer: Tokenizer) -> None:
    """Contrastive search wants the states of the whole prompt, which the prefix cache does not have."""
    engine = Engine(model, tokenizer, settings=EngineSettings(block=4))
    search = {"use": "contrastive", "width": 3}
    served(engine, [PROMPTS[2]], _sampling())
    for _ in range(2):
        found = served(engine, [PROMPTS[2]], _sampling(search=search))
        assert [found[0][0].tokens] == _alone(model, tokenizer, PROMPTS[2], search)


@pytest.mark.parametrize("layers", ["low", "high", [0, 2]])
def test_dola(model: Any, tokenizer: Tokenizer, layers: object) -> None:
    contrast = {"use": "dola", "layers": layers}
    found = served(Engine(model, tokenizer), PROMPTS, _sampling(contrast=contrast, repetition_penalty=1.2))
    read = contrasted(model, Spec.read(contrast).build(CONTRASTS), tied=model.recipe.tied)
    filters, stops = chain({"repetition_penalty": 1.2}), frozenset(tokenizer.stops)
    for prompt, answers in zip(PROMPTS, found, strict=True):
        assert answers[0].tokens == greedy(read, prompt, filters, stops, LIMIT)


def _two(model: Model, weak: Model, use: str) -> Reader:
    contrast, strong, other = CONTRASTS[use](), reader(model), reader(weak)

    def read(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, logits = strong(tokens)
        return states, contrast(Voices(logits, other(tokens)[1]))

    return read


@pytest.mark.parametrize("use", ["contrastive", "contrastive_logits"])
def test_two_models(model: Model, tokenizer: Tokenizer, use: str) -> None:
    """A search of what two voices make, too."""
    weak = small_model(seed=9, layers=1)
    read, stops = _two(model, weak, use), frozenset(tokenizer.stops)
    engine = Engine(model, tokenizer, companion=weak, settings=EngineSettings(budget=6, block=4))
    one = served(engine, PROMPTS, _sampling(contrast=use))
    several = served(engine, PROMPTS, _sampling(contrast=use, search=BEAM))
    for prompt, alone, beam in zip(PROMPTS, one, several, strict=True):
        assert alone[0].tokens == greedy(read, prompt, [], stops, LIMIT)
        made = Spec.read(BEAM).build(SEARCHES, [], stops, LIMIT, 1)
        assert beam[0].tokens == list(drive(made, read, prompt)[0].tokens)


def test_aborted_in_the_middle(model: Model, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer)
    number = engine.submit(Request(prompt=tuple(PROMPTS[0]), sampling=_sampling(search=BEAM)))
    for _ in range(3):
        engine.step()
    assert engine.stats.blocks_used > 0
    engine.abort(number)
    assert engine.stats.blocks_used == 0
    drained(engine)


def test_words_the_model_does_not_have(model: Model, tokenizer: Tokenizer) -> None:
    search = {"use": "forced", "words": [[5, 267]]}
    with pytest.raises(ConfigError, match="token id 267 is not the model's"):
        Engine(model, tokenizer).submit(Request(prompt=(1,), sampling=_sampling(search=search)))


def test_fewer_texts_than_were_asked_for(model: Model, tokenizer: Tokenizer) -> None:
    """Only one text may be said: the other answers end without any."""
    banned = tuple((token,) for token in range(267) if token != 8)
    found = served(Engine(model, tokenizer), [PROMPTS[0]], _sampling(n=2, search=BEAM, bad_words=banned))
    assert found[0][0].tokens == [8] * LIMIT
    assert found[0][1].tokens == []
    assert found[0][1].finish is not None


def test_a_grammar_holds_in_all_rows(model: Model, tokenizer: Tokenizer) -> None:
    pytest.importorskip("llguidance")
    sampling = _sampling(n=2, search=BEAM, stop_ids=(0,), constraint={"choice": ["tea", "ten", "toe"]})
    texts = [one.text for one in served(Engine(model, tokenizer), [PROMPTS[0]], sampling)[0]]
    assert len(set(texts)) == 2
    assert set(texts) <= {"tea", "ten", "toe"}
