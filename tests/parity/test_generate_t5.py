"""Generating with an encoder-decoder: the answers of transformers, its own limits, prompts that end where they end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

from danlu import generate, save
from danlu.core.errors import DanluError
from danlu.models.forms.encdec import EncDec
from danlu.tokenize import Tokenizer

transformers = pytest.importorskip("transformers")
PROMPTS = ["the", "你好 the the", "a", "what the then"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> EncDec:
    model = small_model("t5", context=40, begin=1)  # type: ignore[arg-type]
    assert isinstance(model, EncDec)
    return model


def test_greedy_completions_are_those_of_transformers(tokenizer, model, tmp_path: Path) -> None:
    """Prompts end with EOS (id 0 here) as T5 was trained; answers begin with the token ``begin``."""
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(save(model, tokenizer, tmp_path / "model")).eval()
    found = generate(model, tokenizer, PROMPTS, max_tokens=30)
    for prompt, completion in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([[*tokenizer.encode(prompt), tokenizer.eos]])
        stops = sorted(tokenizer.stops)
        with torch.no_grad():
            expected = theirs.generate(ids, max_new_tokens=30, do_sample=False, eos_token_id=stops, pad_token_id=0)
        assert list(completion.tokens) == expected[0, 1:].tolist()
        assert completion.logprobs[0] <= 0
    assert len({completion.tokens for completion in found}) > 1  # they read their prompts


@pytest.mark.parametrize("cache", ["none", "growing", "slab"])
def test_together_equals_alone(tokenizer, model, cache) -> None:
    together = generate(model, tokenizer, PROMPTS, max_tokens=20, cache=cache)
    assert [row.tokens for row in together] == [
        generate(model, tokenizer, [prompt], max_tokens=20)[0].tokens for prompt in PROMPTS
    ]


@pytest.mark.parametrize("rows", [1, 4])
def test_laid_out_for_decoding_it_says_the_same(tokenizer, model, rows) -> None:
    """The maps of every step are copied; those of the encoder, and those asked once a source, are not."""
    from danlu.infer.packed import Part, Prepared

    prepared = Prepared(model)
    laid_out = prepared.serving(rows, 40)
    parts = {name for name, module in laid_out.named_modules() if isinstance(module, Part)}
    each = {f"decoder.blocks.{n}.sublayers.{part}" for n in range(3) for part in ("cross.q", "cross.o", "ffn.down")}
    assert each < parts
    assert "decoder.head" in parts
    assert not [name for name in parts if name.startswith("encoder") or name.endswith(("cross.k", "cross.v"))]
    expected = generate(model, tokenizer, PROMPTS[:rows], max_tokens=30, stop_ids=())
    assert prepared.serving(rows, 30) is laid_out
    found = generate(prepared, tokenizer, PROMPTS[:rows], max_tokens=30, stop_ids=())  # type: ignore[arg-type]
    assert [row.tokens for row in found] == [row.tokens for row in expected]


def test_the_answer_has_the_context_of_the_decoder_for_itself(tokenizer, model) -> None:
    found = generate(model, tokenizer, [[5] * 40], max_tokens=100, stop_ids=())
    assert len(found[0].tokens) == 40
    assert found[0].finish_reason == "length"


def test_a_prompt_beyond_the_context_of_the_encoder_is_refused(tokenizer, model) -> None:
    with pytest.raises(DanluError, match="prompt 1 has 41 tokens, the encoder's context is 40; shorten the prompt"):
        generate(model, tokenizer, ["the", [5] * 41])
    with pytest.raises(DanluError, match="prompt 0 is empty"):
        generate(model, tokenizer, [""])


def test_the_verb_generates(tokenizer, model, tmp_path: Path, capsys) -> None:
    from danlu.cli import main

    folder = save(model, tokenizer, tmp_path / "model")
    main(["generate", str(folder), "the", "--max-tokens", "5"])
    assert generate(model, tokenizer, ["the"], max_tokens=5)[0].text.strip() in capsys.readouterr().out
