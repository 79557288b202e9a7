"""Greedy tokens under every setting that acts there, equal to transformers.generate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.models
from danlu.infer import Generation, Sampling
from danlu.tokenize import Tokenizer

PROMPTS = [[5, 9, 30], list(range(50, 71)), [40], [7, 7, 7, 7, 7]]
ASKED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"repetition_penalty": 1.4}, {"repetition_penalty": 1.4}),
    ({"repetition_penalty": 0.7}, {"repetition_penalty": 0.7}),
    ({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 1}),
    ({"no_repeat_ngram_size": 3}, {"no_repeat_ngram_size": 3}),
    ({"logit_bias": {9: 7.0, 30: -9.0}}, {"sequence_bias": [[[9], 7.0], [[30], -9.0]]}),
    (
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "logit_bias": {9: 4.0}, "bad_words": ((12,),)},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "sequence_bias": [[[9], 4.0]], "bad_words_ids": [[12]]},
    ),
]


@pytest.fixture(scope="module", params=["llama", "gpt2", "t5"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Tokenizer]:
    """Transformers' model, ours and the tokenizer, from one directory."""
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = small_tokenizer(folder / "tokenizer")
    danlu.models.save(small_model(request.param), tokenizer, folder / "model")
    auto = transformers.AutoModelForSeq2SeqLM if request.param == "t5" else transformers.AutoModelForCausalLM
    theirs = auto.from_pretrained(folder / "model", dtype=torch.float32).eval()
    return theirs, danlu.models.load(folder / "model")[0], tokenizer


def _theirs(model: Any, prompt: list[int], ends: list[int], settings: dict[str, Any]) -> list[int]:
    tokens = torch.tensor([prompt])
    said = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=20, eos_token_id=ends,
        pad_token_id=0, **settings,
    )[0].tolist()  # fmt: skip
    return said[1:] if model.config.is_encoder_decoder else said[len(prompt) :]


@pytest.mark.parametrize(("ours", "theirs"), ASKED, ids=lambda one: "-".join(one))
def test_greedy_under(both: tuple[Any, Any, Tokenizer], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    reference, model, tokenizer = both
    ends = sorted(tokenizer.stops)
    generation = Generation(model, tokenizer, PROMPTS, Sampling(max_tokens=20, **ours))
    list(generation)
    expected = [_theirs(reference, prompt, ends, theirs) for prompt in PROMPTS]
    assert [list(one.tokens) for one in generation.completions] == expected
    plain = [_theirs(reference, prompt, ends, {}) for prompt in PROMPTS]
    assert expected != plain, "the setting did nothing here"


def test_words_that_are_never_said(both: tuple[Any, Any, Tokenizer]) -> None:
    """Single tokens and pairs out of what is said without them."""
    reference, model, tokenizer = both
    ends = sorted(tokenizer.stops)
    said = [_theirs(reference, prompt, ends, {}) for prompt in PROMPTS]
    words = [word for word in ([said[0][0]], said[1][1:3], said[2][2:5]) if word and word[-1] not in ends]
    generation = Generation(model, tokenizer, PROMPTS, Sampling(max_tokens=20, bad_words=tuple(map(tuple, words))))
    list(generation)
    expected = [_theirs(reference, prompt, ends, {"bad_words_ids": words}) for prompt in PROMPTS]
    assert [list(one.tokens) for one in generation.completions] == expected
    assert expected != said


def test_no_end_before_min_tokens(both: tuple[Any, Any, Tokenizer]) -> None:
    """The ends are what the model says first, so that it would end at once."""
    reference, model, tokenizer = both
    ends = sorted({_theirs(reference, prompt, [], {})[0] for prompt in PROMPTS})
    for least in (1, 2, 8):
        generation = Generation(
            model, tokenizer, PROMPTS, Sampling(max_tokens=20, min_tokens=least, stop_ids=tuple(ends))
        )
        list(generation)
        expected = [_theirs(reference, prompt, ends, {"min_new_tokens": least}) for prompt in PROMPTS]
        assert [list(one.tokens) for one in generation.completions] == expected
        assert all(len(tokens) > least for tokens in expected)
