"""Scores of answers where an encoder reads the question: the log-softmax of one row at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.infer.answers as answers
from danlu.core.errors import DanluError
from danlu.infer import Local, log_likelihoods
from danlu.models.forms.encdec import EncDec

ROWS = [([3, 4, 5], [6, 7]), ([8], [9]), ([3, 4, 5, 6, 7, 8], [10, 11, 12, 13]), ([5, 5], [1, 2, 3])]


@pytest.fixture(scope="module")
def model() -> EncDec:
    made = small_model("t5", context=12, begin=2)
    assert isinstance(made, EncDec)
    return made


@pytest.mark.parametrize("slots", [answers.SLOTS, 7, 1])
@pytest.mark.parametrize("logits", [answers.LOGITS, 2 * 267])
def test_each_score_is_that_of_its_row_alone(model, slots, logits, monkeypatch) -> None:
    monkeypatch.setattr(answers, "SLOTS", slots)
    monkeypatch.setattr(answers, "LOGITS", logits)
    for (context, continuation), score in zip(ROWS, log_likelihoods(model, ROWS), strict=True):
        with torch.no_grad():
            found = model.translate(torch.tensor([context]), torch.tensor([[2, *continuation[:-1]]]))[0].log_softmax(-1)
        told = torch.tensor(continuation)
        torch.testing.assert_close(
            torch.tensor(score.logprobs), found.gather(-1, told[:, None])[:, 0], atol=1e-4, rtol=1e-4
        )
        assert score.likeliest == tuple((found.argmax(-1) == told).tolist())


def test_what_is_generated_is_the_likeliest(model, tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    from danlu import generate

    prompt = tokenizer.encode("the a")
    said = generate(model, tokenizer, [prompt], max_tokens=6, stop_ids=())[0]
    score = Local(model, tokenizer).score([(prompt, said.tokens)])[0]
    assert score.greedy
    assert score.logprobs == pytest.approx(said.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (([], [1]), "row 1: context and continuation need a token each"),
        (([1] * 13, [1]), "row 1: the context has 13 tokens, the model reads 12"),
        (([1], [1] * 13), "row 1: the continuation has 13 tokens, the model reads 12"),
        (([1], [267]), "row 1: token id 267 is out of range"),
    ],
)
def test_rows_that_cannot_be_scored(model, row, message) -> None:
    with pytest.raises(DanluError, match=message):
        log_likelihoods(model, [ROWS[0], row])
