"""Mistral in the engine and from a sliding cache: the text of transformers, from keys of the window alone."""

from __future__ import annotations

import pytest
import torch
from talkers import small_tokenizer

import danlu
from danlu.infer.engine import Engine
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
PROMPTS = torch.randint(3, 97, (3, 40), generator=torch.Generator().manual_seed(1))
NEW = 30


@pytest.fixture
def both(twins):
    """danlu's model, and the texts of transformers'."""
    theirs, ours, _ = twins("mistral", sliding_window=9, **SIZES)
    rows = theirs.generate(
        PROMPTS, max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0,
        attention_mask=torch.ones_like(PROMPTS),
    )  # fmt: skip
    return ours, [row[PROMPTS.shape[1] :].tolist() for row in rows]


@pytest.mark.parametrize("settings", [{"budget": 16, "block": 4}, {"budget": 64, "block": 16, "rows": 2}], ids=str)
def test_the_engine_says_what_transformers_says(both, settings, tmp_path) -> None:
    ours, expected = both
    engine = Engine(ours, small_tokenizer(tmp_path), settings=EngineSettings(**settings))
    asked = Sampling(max_tokens=NEW, stop_ids=())
    said = {engine.submit(Request(prompt=tuple(row.tolist()), sampling=asked)): [] for row in PROMPTS}
    most = 0
    while engine.busy:
        for event in engine.step():
            said[event.number] += [token.id for token in event.tokens]
        most = max(most, engine.stats.blocks_used)
    assert list(said.values()) == expected
    each = -(-(9 + settings["budget"]) // settings["block"]) + 1
    assert most <= 3 * each < 3 * -(-(40 + NEW) // settings["block"]) or settings["block"] == 16


@pytest.mark.parametrize("window", [9, 16, 25])
def test_a_sliding_cache_says_what_transformers_says(both, window, tmp_path) -> None:
    ours, expected = both
    settings = {"max_tokens": NEW, "stop_ids": [], "cache": {"use": "sliding", "window": window}}
    said = danlu.generate(ours, small_tokenizer(tmp_path), PROMPTS.tolist(), **settings)
    assert [list(one.tokens) for one in said] == expected


def test_a_cache_that_forgets_too_much_says_something_else(both, tmp_path) -> None:
    ours, expected = both
    settings = {"max_tokens": NEW, "stop_ids": [], "cache": {"use": "sliding", "window": 4}}
    said = danlu.generate(ours, small_tokenizer(tmp_path), PROMPTS.tolist(), **settings)
    assert [list(one.tokens) for one in said] != expected
