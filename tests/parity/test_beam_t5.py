"""Beam search of answers to what an encoder read, through the engine: transformers' texts in their order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from served import served
from talkers import small_model, small_tokenizer

from danlu.core.spec import Spec
from danlu.infer.engine import Engine
from danlu.infer.sampling import Sampling
from danlu.models import save

transformers = pytest.importorskip("transformers")
PROMPTS = [[40, 7, 0], [9, 9, 100, 31, 5, 0]]
LIMIT = 12


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.5, 2.0])
@pytest.mark.parametrize("early", [True, False])
def test_beam(tmp_path: Path, penalty: float, early: bool) -> None:
    tokenizer, model = small_tokenizer(tmp_path / "tokenizer"), small_model("t5", context=40, begin=1)  # type: ignore[arg-type]
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(save(model, tokenizer, tmp_path / "model")).eval()
    rules = {"length_penalty": penalty, "early_stopping": early}
    sampling = Sampling(max_tokens=LIMIT, n=3, search=Spec("beam", {"width": 4, **rules}))
    for prompt, answers in zip(PROMPTS, served(Engine(model, tokenizer), PROMPTS, sampling), strict=True):
        stops = sorted(tokenizer.stops)
        with torch.no_grad():
            expected = theirs.generate(
                torch.tensor([prompt]), max_new_tokens=LIMIT, do_sample=False, num_beams=4, num_return_sequences=3,
                eos_token_id=stops, pad_token_id=0, **rules,
            )  # fmt: skip
        rows = [row[1:].tolist() for row in expected]
        ends = [next((i + 1 for i, token in enumerate(row) if token in stops), len(row)) for row in rows]
        assert [one.tokens for one in answers] == [row[:end] for row, end in zip(rows, ends, strict=True)]
