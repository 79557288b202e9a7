"""A model that drafts: equal texts whatever it says, the same law where it draws, its keys cut back and given back."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest
import torch
from chosen_rows import SmallRow
from talkers import small_model

import danlu.models
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.decoders import DECODERS, Decoder
from danlu.infer.drafters import DRAFTERS, Drafter
from danlu.infer.filters import chain
from danlu.infer.speculation import speculated
from danlu.infer.twins import SIZE, Twins
from danlu.models import Stack

VOCAB = 60
PROMPTS = [[5, 9, 30], [40], list(range(20, 41)), [7, 7, 7, 7, 7]]


@pytest.fixture(scope="module")
def large() -> Stack:
    return small_model(vocab=VOCAB)


@pytest.fixture(scope="module")
def small() -> Stack:
    return small_model("gpt2", vocab=VOCAB, layers=1)


def _rows(seed: int = 0) -> list[SmallRow]:
    return [SmallRow(prompt, [], torch.Generator().manual_seed(seed + n)) for n, prompt in enumerate(PROMPTS)]


@torch.inference_mode()
def _said(model: Stack, row: SmallRow, guess: tuple[int, ...] = ()) -> torch.Tensor:
    """(1 + guesses, V), everything read anew."""
    text = [*row.prompt, *row.tokens, *guess]
    return model(torch.tensor([text]))[0, len(text) - len(guess) - 1 :].float()


def _texts(
    model: Stack, decoder: Decoder, drafter: Drafter | None, rows: list[SmallRow], steps: int
) -> tuple[Any, int]:
    """The first tokens of each row, and how many guesses stayed."""
    stayed = 0
    while going := [row for row in rows if len(row.tokens) < steps]:
        guesses = drafter.propose(going, decoder, 9) if drafter else []
        if not drafter:
            for row in going:
                row.tokens.append(int(decoder.choose(_said(model, row), [row])))
            continue
        logits = [_said(model, row, guess.tokens) for row, guess in zip(going, guesses, strict=True)]
        for row, said in zip(going, speculated(decoder, logits, going, guesses), strict=True):
            row.tokens += said
            stayed += len(said) - 1
    return [row.tokens[:steps] for row in rows], stayed


CASES = [("greedy", {}), ("greedy", {"repetition_penalty": 1.5}), ("sample", {"temperature": 0.7, "top_p": 0.9})]


@pytest.mark.parametrize(("name", "filters"), CASES, ids=str)
def test_texts_are_the_same_whatever_model_drafts(
    large: Stack, small: Stack, name: str, filters: dict[str, float]
) -> None:
    decoder = DECODERS[name](chain(filters))
    plain, _ = _texts(large, decoder, None, _rows(), 14)
    for draft, sure in ((small, False), (large, True)):
        drafted, stayed = _texts(large, decoder, DRAFTERS["model"](draft, tokens=3), _rows(), 14)
        assert drafted == plain
        if sure:
            assert stayed >= 4 * 10, "a model does not guess what it says itself"


def test_a_twin_says_what_its_model_says_after_any_cut(small: Stack) -> None:
    """Also with a prompt that is read in pieces and blocks that were taken away in between."""
    model = small_model("llama", vocab=VOCAB, layers=1, context=4 * SIZE)
    bytes_ = 4 * 2 * 48 * 4 * SIZE  # four blocks
    twins = Twins(model, bytes_)
    random = torch.Generator().manual_seed(3)
    rows = [
        SmallRow(torch.randint(VOCAB, (n,), generator=random).tolist(), [], torch.Generator()) for n in (100, 70, 9)
    ]
    for step in range(12):
        row = rows[step % 3]
        row.tokens = [*row.tokens[: step % 4], *torch.randint(VOCAB, (3,), generator=random).tolist()]
        assert twins.room([row], 4) == [True]
        torch.testing.assert_close(twins.logits([row])[0], _said(model, row)[0], atol=1e-4, rtol=1e-4)
    assert sum(twins.room(rows, 4)) == 2, "of two, two and one blocks, four are there"
    del rows, row
    gc.collect()
    assert twins.room([], 4) == []
    assert twins.blocks.used == 0


def test_no_guess_beyond_the_context_of_the_model_that_drafts(large: Stack) -> None:
    drafter = DRAFTERS["model"](small_model("gpt2", vocab=VOCAB, layers=1, context=16), tokens=4)
    rows = [SmallRow([1] * size, [], torch.Generator()) for size in (12, 13)]
    assert [len(guess.tokens) for guess in drafter.propose(rows, DECODERS["greedy"](), 9)] == [4, 0]


def test_drawn_guesses_keep_the_law(large: Stack, small: Stack) -> None:
    """χ² of the first two tokens against their exact law, guesses drawn for themselves and judged by laws."""
    decoder = DECODERS["sample"](chain({"top_k": 3}))
    drafter = DRAFTERS["model"](large, tokens=2, shared=False)
    base, draws = SmallRow([4, 8]), 1500
    first = decoder.law(_said(small, base), [base])[0]
    law = {}
    for a in first.nonzero()[:, 0].tolist():
        row = SmallRow([4, 8], [a])
        second = decoder.law(_said(small, row), [row])[0]
        law |= {(a, b): (first[a] * second[b]).item() for b in second.nonzero()[:, 0].tolist()}
    rows = [SmallRow([4, 8], [], torch.Generator().manual_seed(seed)) for seed in range(draws)]
    guesses = [guess for i in range(0, draws, 500) for guess in drafter.propose(rows[i : i + 500], decoder, 9)]
    assert all(guess.laws is not None and guess.laws.shape == (2, VOCAB) for guess in guesses)
    known = {tokens: _said(small, base, tokens) for tokens in {guess.tokens for guess in guesses}}
    for row, said in zip(rows, speculated(decoder, [known[g.tokens] for g in guesses], rows, guesses), strict=True):
        row.tokens += said
        if len(row.tokens) < 2:
            row.tokens.append(int(decoder.choose(_said(small, row), [row])))
    counts = Counter(tuple(row.tokens[:2]) for row in rows)
    assert set(counts) <= set(law)
    common = [text for text in law if law[text] * draws >= 5]
    chi2 = sum((counts[text] - draws * law[text]) ** 2 / (draws * law[text]) for text in common)
    assert chi2 < len(common) + 4 * (2 * len(common)) ** 0.5


def test_models_that_cannot_draft_are_refused(large: Stack) -> None:
    with pytest.raises(ConfigError, match="give a smaller one"):
        DRAFTERS["model"]()
    with pytest.raises(ConfigError, match="cannot go back"):
        DRAFTERS["model"](
            danlu.models.build(Spec.read({"use": "recurrent", "model": 16, "layers": 1, "context": 32}), vocab=VOCAB)
        )
    with pytest.raises(ConfigError, match="hold no two blocks"):
        DRAFTERS["model"](large, gib=1e-6)
