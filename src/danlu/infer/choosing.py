"""From what a pass says to the next tokens: rows of all requests at once, searches one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .contrasts import Voices
from .drafters import Guess
from .grammatical import grammatical
from .heard import Heard
from .jobs import Job
from .request import Told
from .scheduler import Piece
from .searches import Asked, Choice
from .sequence import Sequence as Row
from .speculation import speculated

FAR = 1e4  # below all else: what a contrast drops is left to a grammar that wants nothing else


@dataclass(eq=False)
class Turn:
    """A row whose next token is to be chosen.

    logits: (1 + guesses, V) as the model says; ``voiced`` what a contrast makes of them; ``guess`` was fed behind the
    row's last token.
    """

    job: Job
    row: Row
    logits: Tensor
    voiced: Tensor
    guess: Guess | None = None


def turn(job: Job, row: Row, heard: Heard, weak: Heard | None, guess: Guess | None) -> Turn:
    """What is known of a row whose newest token was fed."""
    logits = heard.logits
    if job.contrast is None:
        return Turn(job, row, logits, logits, guess)
    voiced = job.contrast(Voices(logits, weak and weak.logits, heard.early))
    if row.matcher is not None:
        voiced = torch.maximum(voiced, logits - FAR)
    return Turn(job, row, logits, voiced, guess)


@torch.inference_mode()
def chosen(turns: Sequence[Turn]) -> list[list[int]]:
    """The next tokens of rows that are chosen for alike: one each, and the guesses before it that stay."""
    decoder, rows = turns[0].job.decoder, [one.row for one in turns]
    if any(one.guess is not None for one in turns):
        return speculated(decoder, [one.voiced for one in turns], rows, [one.guess or Guess() for one in turns])
    logits = _stacked([one.voiced[-1] for one in turns])
    return [[token] for token in decoder.choose(grammatical(logits, rows), rows).tolist()]


def alike(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Those that the same decoder chooses for, together."""
    groups: dict[int, list[Turn]] = {}
    for one in turns:
        groups.setdefault(id(one.job.decoder), []).append(one)
    return list(groups.values())


@torch.inference_mode()
def searched(job: Job, turns: Sequence[Turn]) -> Choice:
    """How the rows of a search go on; they are in its order."""
    assert job.search is not None
    asked = turns if job.search.wants_hidden else ()
    states = tuple(torch.cat(job.states.pop(one.row.serial)) for one in asked)
    rows = [one.row for one in turns]
    logits = grammatical(_stacked([one.voiced[-1] for one in turns]), rows)
    return job.search.choose(Asked(logits, rows, states))


def told_of(said: Sequence[tuple[Turn, list[int]]]) -> Iterator[tuple[Turn, list[Told]]]:
    """The tokens of several rows with their log-probabilities, counted for all rows at once."""
    logits = [one.logits[: len(tokens)] for one, tokens in said]
    tops = [one.job.request.sampling.logprobs or 0 for one, _ in said]
    every = iter(told(torch.cat(logits), [token for _, tokens in said for token in tokens], max(tops)))
    for (one, tokens), top in zip(said, tops, strict=True):
        mine = [next(every) for _ in tokens]
        yield one, mine if top == max(tops) else [replace(token, top=token.top[:top]) for token in mine]


@torch.inference_mode()
def told(logits: Tensor, tokens: Sequence[int], top: int | None) -> list[Told]:
    """Tokens and their log-probabilities, one a row of logits (N, V), with the ``top`` likeliest of each."""
    ids = torch.tensor(tokens, device=logits.device)
    total = logits.logsumexp(-1)  # (N,)
    own = (logits.gather(-1, ids[:, None])[:, 0] - total).tolist()
    if not top:
        return [Told(token, logprob) for token, logprob in zip(tokens, own, strict=True)]
    best = logits.topk(top, -1)
    values = (best.values - total[:, None]).tolist()
    likeliest = [tuple(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), values, strict=True)]
    return [Told(*one) for one in zip(tokens, own, likeliest, strict=True)]


def told_of_prompt(job: Job, piece: Piece, heard: Heard) -> list[Told | None]:
    """Log-probabilities of the tokens of a prompt after those that were fed; its first has none."""
    first: list[Told | None] = [] if job.prompt_told else [None]
    begin = max(len(job.prompt_told), 1)  # the next one to be told
    tokens = piece.row.prompt[begin : piece.stop + 1]
    logits = heard.logits[begin - 1 - piece.start :][: len(tokens)]
    return [*first, *told(logits, tokens, job.request.sampling.prompt_logprobs)] if tokens else first


def _stacked(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(logits)) if len(logits) > 1 else logits[0][None]
