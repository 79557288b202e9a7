"""The engine with grammars: 200 of 200 answers of a random model are valid, and neighbors without one say what they would."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.engine import Engine
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.models import Stack
from danlu.tokenize import Tokenizer

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "pattern": "^[一-龥a-z]{1,5}$"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Stack:
    return small_model(context=256)


def _answers(engine: Engine, asked: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Text and finish of each answer of each request, all of them at once."""
    numbers = {}
    for place, settings in enumerate(asked):
        request = Request(prompt=(5, 9, 30 + place), sampling=Sampling(**{"max_tokens": 200, **settings}))
        numbers[engine.submit(request)] = place
    said: list[dict[int, str]] = [{} for _ in asked]
    ends: list[dict[int, str]] = [{} for _ in asked]
    while engine.busy:
        for event in engine.step():
            place = numbers[event.number]
            said[place][event.index] = said[place].get(event.index, "") + event.text
            if event.finish:
                ends[place][event.index] = event.finish
    return [[(texts[n], end[n]) for n in sorted(texts)] for texts, end in zip(said, ends, strict=True)]


@pytest.mark.slow
def test_two_hundred_of_two_hundred_answers_of_a_random_model_are_valid(tokenizer: Tokenizer, model: Stack) -> None:
    engine = Engine(model, tokenizer)
    drawn = {"constraint": {"json_schema": CITY}, "n": 20, "temperature": 1.5}
    answers = [one for told in _answers(engine, [{**drawn, "seed": 1000 * seed} for seed in range(10)]) for one in told]
    assert len(answers) == 200
    for text, finish in answers:
        value = json.loads(text)
        assert list(value) == ["city", "days"]
        assert re.fullmatch("[一-龥a-z]{1,5}", value["city"])
        assert type(value["days"]) is int
        assert 1 <= value["days"] <= 14
        assert finish == "stop"
    assert len({text for text, _ in answers}) > 100
    assert engine.stats.blocks_used == 0


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"temperature": 1.0, "seed": 3, "n": 3},
        {"min_tokens": 50},
        {"ignore_eos": True},
        {"no_repeat_ngram_size": 1},
        {"temperature": 0.8, "bad_words": ((88,), (89,), (80,), (81,), (82,))},
        {"logit_bias": dict.fromkeys(range(267), -100.0)},
        {"search": Spec("beam", {"width": 3})},
        {"search": Spec("contrastive", {})},
        {"contrast": Spec("dola")},
    ],
    ids=str,
)
def test_whatever_else_is_asked_the_grammar_holds(tokenizer: Tokenizer, model: Stack, asked: dict[str, Any]) -> None:
    choice = {"constraint": {"choice": ["yes", "no", "nothing"]}}
    number = {"constraint": {"regex": "[0-9]{2}:[0-9]{2}"}}
    told, timed = _answers(Engine(model, tokenizer), [{**asked, **choice}, {**asked, **number}])
    assert {text for text, _ in told} <= {"yes", "no", "nothing"}
    assert all(re.fullmatch("[0-9]{2}:[0-9]{2}", text) for text, _ in timed)


def test_neighbors_say_what_they_would_say_alone(tokenizer: Tokenizer, model: Stack) -> None:
    asked: list[dict[str, Any]] = [
        {"max_tokens": 30},
        {"constraint": {"json_schema": CITY}},
        {"max_tokens": 30, "temperature": 1.0, "seed": 8},
        {"constraint": {"choice": ["你好", "您好吗"]}, "temperature": 1.0, "seed": 1},
    ]
    together = _answers(Engine(model, tokenizer), asked)
    for place, settings in enumerate(asked):
        empty = [{"max_tokens": 1}] * place  # so that its prompt is the same
        assert _answers(Engine(model, tokenizer), [*empty, settings])[-1] == together[place]
    assert together[3][0][0] in ("你好", "您好吗")


def test_an_answer_that_may_not_go_on_ends_and_the_others_go_on(
    tokenizer: Tokenizer, model: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, tokenizer)
    endless = {"constraint": {"regex": "[a-z]{150}"}}
    free = {"max_tokens": 20}
    wanted = _answers(engine, [endless, free])
    assert len(wanted[0][0][0]) == 150
    monkeypatch.setattr("danlu.infer.constraint.SECONDS_A_TOKEN", -0.02)  # so that a second is over after 50 tokens
    told = _answers(engine, [endless, free])
    assert 20 < len(told[0][0][0]) < 60
    assert told[0][0][1] == "error"
    assert told[1] == wanted[1]
    assert engine.stats.blocks_used == 0


def test_a_bad_schema_is_refused_before_any_work(tokenizer: Tokenizer, model: Stack) -> None:
    engine = Engine(model, tokenizer)
    with pytest.raises(ConfigError, match="json_schema cannot be followed"):
        engine.submit(Request(prompt=(5,), sampling=Sampling(constraint={"json_schema": {"type": "strin"}})))
    assert not engine.busy
