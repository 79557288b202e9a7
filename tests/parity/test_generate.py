"""Greedy tokens equal to transformers.generate on the models we save, alone and in a ragged batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.models
from danlu.infer import generate

PROMPTS = [[5, 9, 30], list(range(50, 71)), [40], [7, 7, 7, 7, 7]]


@pytest.mark.parametrize("use", ["llama", "gpt2", "qwen2", "qwen3", "mistral"])
def test_greedy(use: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    model = small_model(use)
    danlu.models.save(model, tokenizer, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    again, read = danlu.models.load(tmp_path / "model")
    assert read is not None
    ours = generate(again, read, PROMPTS, max_tokens=20)
    for prompt, one in zip(PROMPTS, ours, strict=True):
        settings = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": list(read.stops), "pad_token_id": 0}
        tokens = torch.tensor([prompt])
        expected = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)[0, len(prompt) :]
        assert list(one.tokens) == expected.tolist()
        assert one.text == tokenizer.decode(one.tokens)
    assert [one.tokens for one in generate(model, tokenizer, PROMPTS, max_tokens=20)] == [one.tokens for one in ours]
