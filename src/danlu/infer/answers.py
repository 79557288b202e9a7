"""How likely given answers are where an encoder reads the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..core.errors import DanluError
from ..core.ports import Score
from ..nn.layout import Layout
from ..nn.model import Model

SLOTS = 4096  # tokens a pass, padding included
LOGITS = 1 << 22  # logits held at once: 16 MiB in fp32

Row = tuple[Sequence[int], Sequence[int]]


def answered(model: Model, rows: Sequence[Row]) -> list[Score]:
    """log p(continuation | context read by the encoder), token by token; the order of ``rows`` is kept.

    The decoder is fed its first token and the continuation less its last. A context is read as it is given: one that
    should end with EOS brings it.
    Raises: DanluError if a row has an empty side, or one too long or with an id that its side of the model has not.
    """
    for number, (context, continuation) in enumerate(rows):
        _check(number, "context", context, model.source.context, model.source.vocab)
        _check(number, "continuation", continuation, model.dims.context, model.dims.vocab)
    scores: dict[int, Score] = {}
    for numbers in _passes(rows):
        scores.update(zip(numbers, _scored(model, [rows[number] for number in numbers]), strict=True))
    return [scores[number] for number in range(len(rows))]


def _check(number: int, side: str, ids: Sequence[int], room: int, vocab: int) -> None:
    if not ids:
        raise DanluError(f"row {number}: context and continuation need a token each")
    if len(ids) > room:
        raise DanluError(f"row {number}: the {side} has {len(ids)} tokens, the model reads {room}; score a shorter one")
    if (wrong := next((i for i in ids if not 0 <= i < vocab), None)) is not None:
        raise DanluError(f"row {number}: token id {wrong} is out of range; the model's ids are 0 … {vocab - 1}")


def _passes(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Numbers of rows of like length, together at most SLOTS tokens of contexts."""
    group: list[int] = []
    for number in sorted(range(len(rows)), key=lambda n: (len(rows[n][0]), len(rows[n][1])), reverse=True):
        if group and (len(group) + 1) * len(rows[group[0]][0]) > SLOTS:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _scored(model: Model, rows: Sequence[Row]) -> Iterator[Score]:
    assert model.begin is not None
    device = next(model.parameters()).device
    source, seen = _padded([context for context, _ in rows], device)
    target, _ = _padded([[model.begin, *continuation[:-1]] for _, continuation in rows], device)
    memory = model.read(source, Layout.of(Layout.dense(source).position, seen))
    hidden = model.hidden(target, replace(Layout.dense(target), memory=memory))
    size = max(LOGITS // model.dims.vocab, 1)
    for states, (_, continuation) in zip(hidden, rows, strict=True):
        logprobs: list[float] = []
        likeliest: list[bool] = []
        for a in range(0, len(continuation), size):
            told = torch.tensor(continuation[a : a + size], device=device)
            logits = model.head(states[None, a : a + len(told)])[0].float()
            chosen = logits.gather(-1, told[:, None])[:, 0] - logits.logsumexp(-1)
            logprobs += chosen.tolist()
            likeliest += (logits.argmax(-1) == told).tolist()
        yield Score(tuple(logprobs), tuple(likeliest))


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens filled up at the right, and 1 where they are real.  (B, T) each."""
    width = max(map(len, rows))
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device)
    lengths = torch.tensor(list(map(len, rows)), device=device)
    return tokens, (torch.arange(width, device=device) < lengths[:, None]).long()
