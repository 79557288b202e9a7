"""Guesses change the speed and nothing else: the same tokens where they are judged by choosing, the same law by laws."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from chosen_rows import SmallRow

from danlu.infer.decoders import DECODERS, Decoder
from danlu.infer.drafters import Guess
from danlu.infer.filters import chain
from danlu.infer.speculation import judged, speculated

P = torch.tensor([0.4, 0.0, 0.3, 0.2, 0.1])
LAWS = {
    "alike": P,
    "flat": torch.full((5,), 0.2),
    "narrow": torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]),
    "never right": torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]),
    "crossed": torch.tensor([0.1, 0.1, 0.6, 0.1, 0.1]),
}
ROWS = 500


def _rows(seed: int, count: int = ROWS) -> list[SmallRow]:
    return [SmallRow(random=torch.Generator().manual_seed(seed + number)) for number in range(count)]


def _chi2(counts: torch.Tensor, law: torch.Tensor) -> float:
    expected = law.double() / law.double().sum() * counts.sum()
    assert counts[law == 0].sum() == 0, "a token without probability was said"
    return ((counts - expected)[law > 0] ** 2 / expected[law > 0]).sum().item()


@pytest.mark.parametrize("name", list(LAWS))
def test_what_is_judged_has_the_law_that_is_due(name: str) -> None:
    """χ² with 3 degrees of freedom exceeds 16.3 once in a thousand; the seeds are fixed."""
    q, counts = LAWS[name], torch.zeros(5, dtype=torch.float64)
    rows, random, stayed = _rows(1), torch.Generator().manual_seed(9), 0
    for _ in range(40):
        guesses = torch.multinomial(q, ROWS, replacement=True, generator=random)
        said = judged(P.expand(ROWS, -1), guesses, q.expand(ROWS, -1), rows)
        stayed += int((said == guesses).sum())
        counts += said.bincount(minlength=5)
    assert _chi2(counts, P) < 16.3
    assert stayed / 20_000 == pytest.approx(torch.minimum(P, q).sum().item(), abs=0.015), "guesses stay Σ min(p, q)"


def test_the_test_would_see_an_error() -> None:
    """Keeping every guess, or drawing anew from p instead of what p has more than q, gives another law."""
    q, random = LAWS["crossed"], torch.Generator().manual_seed(9)
    guesses = torch.multinomial(q, 20_000, replacement=True, generator=random)
    assert _chi2(guesses[P[guesses] > 0].bincount(minlength=5).double(), P) > 100
    anew = torch.multinomial(P, 20_000, replacement=True, generator=random)
    stays = torch.rand(20_000, generator=random) * q[guesses] < P[guesses]
    assert _chi2(torch.where(stays, guesses, anew).bincount(minlength=5).double(), P) > 100


class Table:
    """A model of five tokens: what it says depends on the last two of prompt and answer."""

    def __init__(self, seed: int, sharp: float = 1.5) -> None:
        self.logits = torch.randn(5, 5, 5, generator=torch.Generator().manual_seed(seed)) * sharp

    def after(self, text: list[int]) -> torch.Tensor:
        return self.logits[text[-2], text[-1]]


def _plain(model: Table, decoder: Decoder, row: Any, steps: int) -> list[int]:
    for _ in range(steps):
        row.tokens.append(int(decoder.choose(model.after([*row.prompt, *row.tokens])[None], [row])))
    return row.tokens[:steps]


def _with_guesses(model: Table, decoder: Decoder, row: Any, steps: int, guesser: Any) -> tuple[list[int], int]:
    """The tokens and how many passes of the model they took."""
    passes = 0
    while len(row.tokens) < steps:
        text = [*row.prompt, *row.tokens]
        guess = guesser(text, row)
        row.tokens += speculated(decoder, [_read(model, row, guess)], [row], [guess])[0]
        passes += 1
    return row.tokens[:steps], passes


GUESSERS = {
    "none": lambda text, row: Guess(),
    "always wrong": lambda text, row: Guess(tuple((token + 1) % 5 for token in _oracle[row.number][len(row.tokens) :][:3])),
    "always right": lambda text, row: Guess(tuple(_oracle[row.number][len(row.tokens) :][:3])),
    "sometimes": lambda text, row: Guess((text[-1], 2, text[-2], 0)),
}  # fmt: skip
_oracle: dict[int, list[int]] = {}
FILTERS = [{}, {"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 3, "frequency_penalty": 0.4, "top_k": 3}]


@pytest.mark.parametrize("name", list(DECODERS))
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_text_is_the_same_token_by_token_whatever_was_guessed(name: str, filters: dict[str, Any]) -> None:
    """Also where tokens are drawn: the random numbers are spent as they would have been without guesses."""
    model, passes = Table(3), {}
    for seed in range(8):
        decoder = DECODERS[name](chain(filters, greedy=name == "greedy"))
        _oracle[seed] = _plain(model, decoder, SmallRow([1, 2], [], torch.Generator().manual_seed(seed)), 40)
        for kind, guesser in GUESSERS.items():
            row = SmallRow([1, 2], [], torch.Generator().manual_seed(seed))
            row.number = seed  # type: ignore[attr-defined]
            said, passes[kind] = _with_guesses(model, decoder, row, 40, guesser)
            assert said == _oracle[seed], kind
    assert passes["always wrong"] == 40
    assert passes["always right"] == 10


def test_several_rows_at_once_with_guesses_of_any_length() -> None:
    model = Table(5)
    for name in DECODERS:
        decoder = DECODERS[name](chain({"repetition_penalty": 1.3}))
        texts = [_plain(model, decoder, SmallRow([0, s], [], torch.Generator().manual_seed(s)), 6) for s in range(4)]
        rows = [SmallRow([0, s], [], torch.Generator().manual_seed(s)) for s in range(4)]
        guesses = [Guess(tuple(texts[0][:5])), Guess(), Guess((9 % 5, 0)), Guess((texts[3][0], (texts[3][1] + 1) % 5))]
        logits = [_read(model, row, guess) for row, guess in zip(rows, guesses, strict=True)]
        said = speculated(decoder, logits, rows, guesses)
        assert [len(tokens) for tokens in said][:2] == [6, 1]
        assert len(said[3]) == 2
        assert all(tokens == text[: len(tokens)] for tokens, text in zip(said, texts, strict=True))
        assert all(row.tokens == [] for row in rows), "the rows themselves were changed"


@pytest.mark.parametrize("filters", [{}, {"repetition_penalty": 1.7, "top_k": 3}], ids=str)
def test_drawn_guesses_keep_the_law_of_texts(filters: dict[str, Any]) -> None:
    """All 125 texts of three tokens: χ² against their exact probabilities, guesses drawn from another model."""
    model, other, draws = Table(7), Table(8), 4000
    decoder = DECODERS["sample"](chain(filters))
    law = _law_of_texts(model, decoder, 3)
    rows = [SmallRow([1, 2], [], torch.Generator().manual_seed(seed)) for seed in range(draws)]
    while going := [row for row in rows if len(row.tokens) < 3]:
        guesses = _drawn_guesses(other, decoder, going)
        logits = [_read(model, row, guess) for row, guess in zip(going, guesses, strict=True)]
        for row, said in zip(going, speculated(decoder, logits, going, guesses), strict=True):
            row.tokens += said
    counts = Counter(tuple(row.tokens[:3]) for row in rows)
    common = [text for text in law if law[text] * draws >= 5]
    chi2 = sum((counts[text] - draws * law[text]) ** 2 / (draws * law[text]) for text in common)
    assert all(counts[text] == 0 for text in law if law[text] == 0)
    assert chi2 < len(common) + 4 * (2 * len(common)) ** 0.5


def _read(model: Table, row: SmallRow, guess: Guess) -> torch.Tensor:
    text = [*row.prompt, *row.tokens]
    return torch.stack([model.after([*text, *guess.tokens[:j]]) for j in range(len(guess.tokens) + 1)])


def _drawn_guesses(model: Table, decoder: Decoder, rows: list[SmallRow]) -> list[Guess]:
    ahead = [SmallRow(row.prompt, list(row.tokens), row.random) for row in rows]
    laws = []
    for _ in range(2):
        logits = torch.stack([model.after([*row.prompt, *row.tokens]) for row in ahead])
        laws.append(decoder.law(logits, ahead))
        for row, token in zip(ahead, torch.multinomial(laws[-1], 1, generator=_drawing)[:, 0].tolist(), strict=True):
            row.tokens.append(token)
    return [Guess(tuple(row.tokens[-2:]), law) for row, law in zip(ahead, torch.stack(laws, 1), strict=True)]


_drawing = torch.Generator().manual_seed(4)


def _law_of_texts(model: Table, decoder: Decoder, length: int) -> dict[tuple[int, ...], float]:
    law = {}
    for text in itertools.product(range(5), repeat=length):
        chance = 1.0
        for place, token in enumerate(text):
            before = SmallRow([1, 2], list(text[:place]), torch.Generator())
            chance *= decoder.law(model.after([1, 2, *text[:place]])[None], [before])[0, token].item()
        law[text] = chance
    return law


class Parity:
    """A grammar: even and odd tokens in turn, over after five; tokens it did not allow are an error."""

    def __init__(self, taken: int = 0) -> None:
        self.taken = taken

    @property
    def over(self) -> bool:
        return self.taken == 5

    def allowed(self) -> torch.Tensor:
        assert not self.over, "asked after its end"
        return torch.arange(5) % 2 == self.taken % 2

    def take(self, token: int) -> None:
        assert token % 2 == self.taken % 2, "a token that is not allowed was taken"
        self.taken += 1

    def fork(self) -> Parity:
        return Parity(self.taken)


def test_a_grammar_holds_under_guesses() -> None:
    """Guesses outside it are turned down, the row's own matcher does not move, nothing is asked after its end."""
    decoder = DECODERS["sample"]()
    for seed in range(40):
        row: Any = SmallRow([1], [], torch.Generator().manual_seed(seed))
        row.matcher = Parity(seed % 3)
        left = 5 - row.matcher.taken
        random = torch.Generator().manual_seed(100 + seed)
        guess = Guess(tuple(torch.randint(5, (6,), generator=random).tolist()))
        said = speculated(decoder, [torch.zeros(7, 5)], [row], [guess])[0]
        assert 1 <= len(said) <= left
        assert row.matcher.taken == seed % 3
        assert [token % 2 for token in said] == [(seed % 3 + place) % 2 for place in range(len(said))]
