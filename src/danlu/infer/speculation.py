"""What becomes of guesses: exactly the tokens, or the law of tokens, that there would be without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .ahead import Ahead
from .decoders import Decoder
from .decoders.sample import drawn
from .drafters import Guess
from .grammatical import grammatical
from .rows import Row


def judged(law: Tensor, tokens: Tensor, guessed: Tensor, rows: Sequence[Row]) -> Tensor:
    """The next token of each row, where ``tokens`` (B,) were drawn from ``guessed`` (B, V) and ``law`` (B, V) is due.

    A guess x stays with probability min(1, p(x) / q(x)); else the token is drawn from (p - q)₊ / Σ (p - q)₊. Together
    that is a draw from p: min(p, q) + (1 - Σ min(p, q)) · (p - q)₊ / Σ (p - q)₊ = p. A token that is drawn anew is
    never the guess.
    Source: Leviathan, Kalman, Matias 2023, arXiv:2211.17192, §2.3 and Appendix A.1; Chen et al. 2023, arXiv:2302.01318.
    Truth:  tests/truth/test_speculation.py (χ² on five tokens).
    """
    p, q = law.double(), guessed.double()
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    numbers = [torch.rand((), generator=row.random, dtype=torch.float64) for row in rows]
    at = tokens[:, None]
    stays = torch.stack(numbers).to(law.device) * q.gather(-1, at)[:, 0] < p.gather(-1, at)[:, 0]
    rest = (p - q).clamp(min=0)
    rest = rest.where(rest.sum(-1, keepdim=True) > 0, p)  # q is p but for rounding: nothing is turned down
    return tokens.where(stays, drawn(rest, rows))


@dataclass(eq=False)
class _Trial:
    """A row whose guesses are judged one after the other."""

    row: Ahead
    logits: Tensor  # (1 + D, V)
    guess: Guess
    said: list[int] = field(default_factory=list)
    going: bool = True

    @property
    def next(self) -> int | None:
        """The guess to be judged; None where there is none left."""
        place = len(self.said)
        return self.guess.tokens[place] if place < len(self.guess.tokens) else None

    def take(self, token: int) -> None:
        """What is said; the next guess is of use only if this one was right."""
        self.going = token == self.next
        self.said.append(token)
        if self.going:
            self.row.go_on(token)
            self.going = not self.row.over


@torch.inference_mode()
def speculated(
    decoder: Decoder, logits: Sequence[Tensor], rows: Sequence[Row], guesses: Sequence[Guess]
) -> list[list[int]]:
    """The next tokens of each row: its guesses as far as they stay, and one more that is its own.

    logits: a row's (1 + D, V), what is said after its last token and after each of its D guesses. Tokens that were not
    drawn are judged by choosing: what is chosen is what would have been without them, from the same random numbers,
    also where tokens are drawn. Guesses that were drawn are judged by their laws. Filters and grammars act as if each
    guess that stays had been chosen alone.
    """
    trials = [_Trial(Ahead(row), said, guess) for row, said, guess in zip(rows, logits, guesses, strict=True)]
    while going := [trial for trial in trials if trial.going]:
        by_law = [trial for trial in going if trial.next is not None and trial.guess.laws is not None]
        by_choice = [trial for trial in going if trial.next is None or trial.guess.laws is None]
        for group, judge in ((by_choice, _chosen), (by_law, _judged)):
            if group:
                said = torch.stack([trial.logits[len(trial.said)] for trial in group])
                tokens = judge(decoder, grammatical(said, [trial.row for trial in group]), group)
                for trial, token in zip(group, tokens.tolist(), strict=True):
                    trial.take(token)
    return [trial.said for trial in trials]


def _chosen(decoder: Decoder, logits: Tensor, trials: Sequence[_Trial]) -> Tensor:
    return decoder.choose(logits, [trial.row for trial in trials])


def _judged(decoder: Decoder, logits: Tensor, trials: Sequence[_Trial]) -> Tensor:
    rows = [trial.row for trial in trials]
    tokens = torch.tensor([trial.next for trial in trials], device=logits.device)
    laws = [trial.guess.laws[len(trial.said)] for trial in trials if trial.guess.laws is not None]
    return judged(decoder.law(logits, rows), tokens, torch.stack(laws).to(logits.device), rows)
