"""What a user can ask for in error: each ends in one clear sentence, before any work is done."""

from __future__ import annotations

import pytest
from talkers import small_model, small_tokenizer

from danlu.core.errors import DanluError
from danlu.infer import Local, generate, log_likelihoods, stream
from danlu.infer.sampling import Sampling
from danlu.models import Stack
from danlu.tokenize import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Stack:
    return small_model(context=16)


@pytest.mark.parametrize(
    ("prompt", "settings", "sentence"),
    [
        ("", {}, "prompt 1 is empty"),
        ([], {}, "prompt 1 is empty"),
        ("a" * 16, {}, "prompt 1 has 16 tokens, the model's context is 16 and must hold a new one too; shorten"),
        ([3, 267], {}, "prompt 1: token id 267 is out of range, the model's ids are 0 … 266"),
        ([-1], {}, "prompt 1: token id -1 is out of range"),
        ([0.5], {}, "prompt 1: token id 0.5 is out of range"),
        ("a", {"temperature": -0.1}, "temperature -0.1: must be 0"),
        ("a", {"temperature": float("nan")}, "temperature nan: must be 0"),
        ("a", {"top_p": 0.0}, r"top_p 0.0: must lie within \(0, 1\]"),
        ("a", {"top_p": 1.1}, "top_p 1.1: must lie within"),
        ("a", {"top_k": -1}, "top_k -1: must be a whole number"),
        ("a", {"top_k": 1.5}, "top_k 1.5: must be a whole number"),
        ("a", {"max_tokens": 0}, "max_tokens 0: must be at least 1"),
        ("a", {"stop": ""}, "stop '': must be a text"),
        ("a", {"stop": ["x", ""]}, "stop '': must be a text"),
        ("a", {"stop_ids": [267]}, "stop id 267 is no token of the model"),
        ("a", {"stop_ids": [-1]}, "stop id -1 is no token"),
        ("a", {"seed": [1, 2, 3]}, "3 seeds for 2 prompts"),
        ("a", {"cache": "slap"}, r"no cache named 'slap' .did you mean 'slab'\?.; there are: growing, int8"),
    ],
)
def test_a_request_that_cannot_be_served(model, tokenizer, prompt, settings, sentence) -> None:
    with pytest.raises(DanluError, match=sentence):
        generate(model, tokenizer, ["fine", prompt], **settings)


def test_no_prompts_no_completions(model: Stack, tokenizer: Tokenizer) -> None:
    assert generate(model, tokenizer, []) == []


def test_a_stream_is_refused_when_it_is_made_not_when_it_is_read(model: Stack, tokenizer: Tokenizer) -> None:
    with pytest.raises(DanluError, match="prompt 0 is empty"):
        stream(model, tokenizer, "")
    with pytest.raises(DanluError, match="max_tokens"):
        stream(model, tokenizer, "a", Sampling(max_tokens=-1))


def test_chat_names_settings_it_does_not_know(model: Stack, tokenizer: Tokenizer) -> None:
    local = Local(model, tokenizer)
    with pytest.raises(DanluError, match=r"chat: no key named 'temprature' .did you mean 'temperature'"):
        local.chat([[{"role": "user", "content": "a"}]], temprature=1)
    with pytest.raises(DanluError, match="no tokenizer"):
        Local(model, None)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (([], [1]), "need a token each"),
        (([1], []), "need a token each"),
        (([1] * 10, [1] * 8), "18 tokens, the model's context is 16"),
        (([1], [267]), "token id 267 is out of range"),
        (([-3], [1]), "token id -3 is out of range"),
    ],
)
def test_rows_that_cannot_be_scored(model: Stack, row, sentence: str) -> None:
    with pytest.raises(DanluError, match=f"row 1: .*{sentence}"):
        log_likelihoods(model, [([1], [2]), row])
