"""Beam search finds what transformers.generate finds: texts, scores and their order, over a grid of settings."""

from __future__ import annotations

from itertools import product
from typing import Any

import golden_llama
import pytest
import torch
from searching import Reader, drive, reader, remembering

from danlu.infer.filters import chain
from danlu.infer.searches import SEARCHES
from danlu.models import load

LIMIT = 10
PENALTIES = (-1.0, 0.0, 0.6, 1.0, 2.0)
PROMPTS = ([2, 9, 30, 4], [2, 5, 5, 21, 33, 8, 12])
Twins = tuple[Any, Reader]


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The same small LLaMA in transformers and here; one token in 13 or so ends a text."""
    from transformers import AutoModelForCausalLM

    folder = golden_llama.write(tmp_path_factory.mktemp("beam"), layers=2, tied=False, seed=5)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), remembering(
        reader(load(folder)[0])
    )


def _theirs(model: Any, prompt: list[int], **settings: Any) -> list[tuple[list[int], float]]:
    tokens = torch.tensor([prompt])
    out = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=LIMIT, do_sample=False,
        return_dict_in_generate=True, output_scores=True, pad_token_id=0, **settings,
    )  # fmt: skip
    ends = settings["eos_token_id"]
    scores = [0.0] if settings["num_beams"] == 1 else out.sequences_scores.tolist()
    rows = [row[len(prompt) :].tolist() for row in out.sequences]
    stops = [next((i + 1 for i, token in enumerate(row) if token in ends), len(row)) for row in rows]
    return [(row[:stop], score) for row, stop, score in zip(rows, stops, scores, strict=True)]


def _check(twins: Twins, prompt: list[int], ends: list[int], **settings: Any) -> None:
    theirs, ours = twins
    width = settings["width"]
    expected = _theirs(
        theirs, prompt, num_beams=width, num_return_sequences=width, eos_token_id=ends,
        length_penalty=settings["length_penalty"], early_stopping=settings["early_stopping"],
    )  # fmt: skip
    search = SEARCHES["beam"]([], frozenset(ends), LIMIT, width, **settings)
    found = drive(search, ours, prompt)
    assert [list(answer.tokens) for answer in found] == [tokens for tokens, _ in expected]
    if width > 1:
        assert [answer.score for answer in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    for answer in found:
        assert answer.finish == ("stop" if answer.tokens[-1] in ends else "length")


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_grid(llamas: Twins, width: int, early: bool | str) -> None:
    for penalty, prompt in product(PENALTIES, PROMPTS):
        rules = {"width": width, "length_penalty": penalty, "early_stopping": early}
        _check(llamas, prompt, [1, 7, 26], **rules)


@pytest.mark.parametrize(
    "filters", [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 2}, {"bad_words": ((15,), (9, 23))}]
)
def test_filters_act_on_log_probabilities(llamas: Twins, filters: dict[str, Any]) -> None:
    theirs = {"bad_words_ids": [list(words) for words in filters["bad_words"]]} if "bad_words" in filters else filters
    for width, prompt in product((2, 4), PROMPTS):
        expected = _theirs(llamas[0], prompt, num_beams=width, num_return_sequences=width, eos_token_id=[1], **theirs)
        search = SEARCHES["beam"](chain(filters), frozenset([1]), LIMIT, width, width=width)
        found = drive(search, llamas[1], prompt)
        assert [list(answer.tokens) for answer in found] == [tokens for tokens, _ in expected]


def test_what_texts_end_at_matters(llamas: Twins) -> None:
    """The test would be blind if no text of it ended before the limit."""
    searches = [SEARCHES["beam"]([], frozenset([1, 7, 26]), LIMIT, 5, width=5) for _ in PROMPTS]
    found = [drive(search, llamas[1], prompt) for search, prompt in zip(searches, PROMPTS, strict=True)]
    assert {answer.finish for answers in found for answer in answers} == {"stop", "length"}


def test_gpt2(twins: Any) -> None:
    sizes = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    theirs, ours, _ = twins("gpt2", **sizes, bos_token_id=0, eos_token_id=3)
    for early, prompt in product([False, True, "never"], [[5, 9, 30], [7] * 6]):
        _check((theirs, reader(ours)), prompt, [3, 8, 40], width=4, length_penalty=0.6, early_stopping=early)
