"""How likely given continuations are, many at a time and without ever holding all their logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..core.errors import DanluError
from ..core.ports import Score
from ..nn.layout import Layout
from ..nn.model import Model

SLOTS = 4096  # tokens a pass, padding included
LOGITS = 1 << 22  # logits held at once: 16 MiB in fp32

Row = tuple[Sequence[int], Sequence[int]]
Input = tuple[int, ...]


@torch.inference_mode()
def log_likelihoods(model: Model, rows: Sequence[Row]) -> list[Score]:
    """Σ log p(continuation | context) token by token, for (context, continuation) ids; the order of ``rows`` is kept.

    What is fed is context + continuation less its last token. Rows that feed the same tokens (the letters of one
    question) are computed once; passes go by falling length, padded at the right, which causal attention never sees.

    Raises: DanluError if a row has an empty side, is longer than the model's context, or an id is out of range.
    """
    for number, row in enumerate(rows):
        _check(row, number, model)
    wanted: dict[Input, list[int]] = {}
    for number, (context, continuation) in enumerate(rows):
        wanted.setdefault((*context, *continuation[:-1]), []).append(number)
    scores: dict[int, Score] = {}
    for inputs in _passes(sorted(wanted, key=len, reverse=True)):
        asked = [(place, number) for place, ids in enumerate(inputs) for number in wanted[ids]]
        scores.update(_score(model, inputs, [(place, number, rows[number]) for place, number in asked]))
    return [scores[number] for number in range(len(rows))]


def _check(row: Row, number: int, model: Model) -> None:
    context, continuation = row
    dims = model.dims
    if not context or not continuation:
        raise DanluError(f"row {number}: context and continuation need a token each")
    if len(context) + len(continuation) > dims.context + 1:
        size = len(context) + len(continuation)
        raise DanluError(f"row {number}: {size} tokens, the model's context is {dims.context}; score a shorter piece")
    for side in row:
        if min(side) < 0 or max(side) >= dims.vocab:
            wrong = min(side) if min(side) < 0 else max(side)
            raise DanluError(
                f"row {number}: token id {wrong} is out of range; the model's ids are 0 … {dims.vocab - 1}"
            )


def _passes(inputs: list[Input]) -> Iterator[list[Input]]:
    """Groups of neighbors in length, at most SLOTS padded tokens each."""
    group: list[Input] = []
    for ids in inputs:
        if group and (len(group) + 1) * len(group[0]) > SLOTS:
            yield group
            group = []
        group.append(ids)
    if group:
        yield group


def _score(model: Model, inputs: list[Input], asked: list[tuple[int, int, Row]]) -> Iterator[tuple[int, Score]]:
    """One pass over ``inputs``; ``asked`` holds (which input, number of the row, the row)."""
    hidden = model.hidden(*_padded(inputs, next(model.parameters()).device))  # (B, T, M)
    targets = torch.tensor([i for _, _, (_, continuation) in asked for i in continuation], device=hidden.device)
    places = [(b, len(x) - 1 + t) for b, _, (x, y) in asked for t in range(len(y))]
    states = hidden[[b for b, _ in places], [t for _, t in places]]  # (N, M)
    size = max(LOGITS // model.dims.vocab, 1)
    parts = [_logprobs(model, states[a : a + size], targets[a : a + size]) for a in range(0, len(targets), size)]
    logprobs, likeliest = (torch.cat(kind).tolist() for kind in zip(*parts, strict=True))
    begin = 0
    for _, number, (_, continuation) in asked:
        end = begin + len(continuation)
        yield number, Score(tuple(logprobs[begin:end]), all(likeliest[begin:end]))
        begin = end


def _padded(inputs: list[Input], device: torch.device) -> tuple[Tensor, Layout]:
    """(B, T), filled up at the right with tokens that no real one can see, hence still ``dense``."""
    width = max(map(len, inputs))
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in inputs], device=device)
    return tokens, Layout.dense(tokens)


def _logprobs(model: Model, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each target, and whether it is the likeliest.  states: (N, M), targets: (N,)."""
    logits = model.head(states[None])[0].float()  # (N, V)
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    return chosen - logits.logsumexp(-1), logits.argmax(-1) == targets
