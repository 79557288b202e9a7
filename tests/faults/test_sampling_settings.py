"""Settings of a request that cannot be served: each refused in one sentence when they are written down."""

from __future__ import annotations

from typing import Any

import pytest
from talkers import small_tokenizer

from danlu.core import config
from danlu.core.errors import ConfigError
from danlu.infer.sampling import Sampling


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n": 0}, "n 0: must be at least 1"),
        ({"min_tokens": -1}, "min_tokens -1: must be at least 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens 9: must not be above max_tokens 8"),
        ({"logprobs": -1}, "logprobs -1: must be at least 0"),
        ({"prompt_logprobs": -1}, "prompt_logprobs -1: must be at least 0"),
        ({"min_p": 1.5}, "min_p 1.5: must lie within"),
        ({"typical_p": 0.0}, "typical_p 0.0: must lie within"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0.0: must be above 0"),
        ({"presence_penalty": float("nan")}, "presence_penalty nan: must be a finite number"),
        ({"no_repeat_ngram_size": -2}, "no_repeat_ngram_size -2: must be a whole number"),
        ({"logit_bias": {"a": 1}}, "logit_bias .*: must map token ids to numbers"),
        ({"logit_bias": {1: "much"}}, "logit_bias"),
        ({"logit_bias": {-1: 3.0}}, "logit_bias -1: 3.0: must be a token id and a finite number"),
        ({"logit_bias": {1: float("inf")}}, "logit_bias 1: inf"),
        ({"logit_bias": [3]}, "logit_bias"),
        ({"bad_words": [[]]}, "bad_words"),
        ({"bad_words": [[3, -1]]}, "bad_words"),
        ({"constraint": {}}, "constraint {}: give one of json_schema"),
        ({"constraint": {"regex": "a", "choice": ["b"]}}, "give one of"),
        ({"constraint": {"regexp": "a"}}, r"no constraint named 'regexp' \(did you mean 'regex'\?\)"),
        ({"search": {"use": "beem"}}, "no search named 'beem'"),
        ({"contrast": {"use": "dulo"}}, "no contrast named 'dulo'"),
        ({"contrast": {"width": 3}}, "contrast: write a name or"),
    ],
    ids=str,
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Sampling(**settings)
    with pytest.raises(ConfigError):
        config.read(Sampling, settings, "generate")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"logit_bias": {267: 1.0}}, "logit_bias id 267 is no token of the model; its ids are 0 … 266"),
        ({"bad_words": ((3,), (4, 999))}, "bad_words id 999 is no token of the model"),
        ({"stop_ids": (400,)}, "stop id 400 is no token"),
        ({"logprobs": 268}, "logprobs 268: the model has 267 tokens"),
        ({"prompt_logprobs": 1000}, "prompt_logprobs 1000: the model has 267 tokens"),
    ],
    ids=str,
)
def test_ids_that_the_model_does_not_have(settings: dict[str, Any], sentence: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Sampling(**settings).stops(small_tokenizer(tmp_path), 267)


def test_json_writes_ids_as_texts() -> None:
    assert Sampling(logit_bias={"3": 1}).logit_bias == {3: 1.0}
    assert config.read(Sampling, {"logit_bias": {"3": 1}, "bad_words": [[1, 2]]}).bad_words == ((1, 2),)


def test_equal_settings_share_who_chooses_and_others_do_not() -> None:
    """So that an engine can choose for the rows of many requests at once."""
    one = Sampling(temperature=0.5, top_p=0.9, logit_bias={3: 1.0}, seed=3, stop="x")
    assert one.decoder() is Sampling(temperature=0.5, top_p=0.9, logit_bias={3: 1.0}, seed=9).decoder()
    assert one.decoder() is not Sampling(temperature=0.5, top_p=0.9, logit_bias={3: 2.0}).decoder()
    assert Sampling(min_tokens=2).decoder([1]) is not Sampling(min_tokens=2).decoder([2])
    assert Sampling().decoder([1]) is Sampling().decoder([2])
    assert {one: 1}[one] == 1


def test_without_an_end_of_its_own(tmp_path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    assert Sampling().stops(tokenizer, 267) == frozenset(tokenizer.stops)
    assert Sampling(ignore_eos=True).stops(tokenizer, 267) == frozenset()
    assert Sampling(ignore_eos=True, stop_ids=(5,)).stops(tokenizer, 267) == {5}
