"""How likely given continuations are, many at a time and without ever holding all their logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.errors import DanluError
from ..core.ports import Score
from ..nn.dims import Dims
from ..nn.layout import Layout
from ..nn.model import Model
from .answers import answered
from .packed import resting

SLOTS = 4096  # tokens a pass, padding included
LOGITS = 1 << 22  # logits held at once: 16 MiB in fp32
SHARED = 64  # tokens in common from which rows share a prefix that is read once
KEYS = 1 << 28  # bytes of keys and values a pass may hold after a shared prefix

Row = tuple[Sequence[int], Sequence[int]]
Input = tuple[int, ...]


class _Pass(NamedTuple):
    """Inputs that go through the model together; their first ``shared`` tokens are the same and read once."""

    inputs: list[Input]
    shared: int = 0


@torch.inference_mode()
def log_likelihoods(model: Model, rows: Sequence[Row], *, reach: int | None = None) -> list[Score]:
    """log p(continuation | context) token by token, for (context, continuation) ids; the order of ``rows`` is kept.

    What is fed is context + continuation less its last token. Rows that feed the same tokens (the letters of one
    question) are computed once, and so is a long beginning that many share (the shots of one subject). Passes go by
    falling length, padded at the right, which causal attention never sees. ``reach`` is how many tokens a row may
    have, the model's context unless given. Where an encoder reads the context, ``answers.py`` scores what follows.

    Raises: DanluError if a row has an empty side, is longer than that, or an id is out of range; ConfigError for an
    encoder, which hears what it would be asked.
    """
    model.expect_next()
    if model.begin is not None:
        return answered(resting(model), rows)
    room = model.reach(reach or model.dims.context)
    for number, row in enumerate(rows):
        _check(row, number, model.dims, room)
    model = resting(model)
    wanted: dict[Input, list[int]] = {}
    for number, (context, continuation) in enumerate(rows):
        wanted.setdefault((*context, *continuation[:-1]), []).append(number)
    free = {ids: min(len(rows[number][0]) for number in numbers) - 1 for ids, numbers in wanted.items()}
    free = dict.fromkeys(free, 0) if model.undivided else free
    scores: dict[int, Score] = {}
    for one in _passes(free, model):
        asked = [(place, number, rows[number]) for place, ids in enumerate(one.inputs) for number in wanted[ids]]
        scores.update(_score(model, one, asked))
    return [scores[number] for number in range(len(rows))]


def _check(row: Row, number: int, dims: Dims, reach: int) -> None:
    context, continuation = row
    if not context or not continuation:
        raise DanluError(f"row {number}: context and continuation need a token each")
    if (size := len(context) + len(continuation)) > reach + 1:
        raise DanluError(f"row {number}: {size} tokens, the model's context is {reach}; score a shorter piece")
    for side in row:
        if min(side) < 0 or max(side) >= dims.vocab:
            wrong = min(side) if min(side) < 0 else max(side)
            raise DanluError(
                f"row {number}: token id {wrong} is out of range; the model's ids are 0 … {dims.vocab - 1}"
            )


def _passes(free: Mapping[Input, int], model: Model) -> Iterator[_Pass]:
    """``free``: of how many first tokens of each input no score is asked."""
    dims = model.dims
    token = 2 * dims.layers * dims.kv_heads * dims.head * next(model.parameters()).dtype.itemsize  # bytes
    families = list(_families(free))
    alone = _Pass([family.inputs[0] for family in families if len(family.inputs) == 1])
    for inputs, shared in [*(family for family in families if len(family.inputs) > 1), alone]:
        group: list[Input] = []
        for ids in sorted(inputs, key=len, reverse=True):
            rows, width = len(group) + 1, len(group[0] if group else ids)
            if group and (rows * (width - shared) > SLOTS or (shared and rows * width * token > KEYS)):
                yield _Pass(group, shared)
                group = []
            group.append(ids)
        if group:
            yield _Pass(group, shared)


def _families(free: Mapping[Input, int]) -> Iterator[_Pass]:
    """Inputs in the order of a dictionary, cut where the next one shares too little with those before it."""
    family: list[Input] = []
    shared = 0
    for ids in sorted(free):
        common = min(_common(family[0], ids), shared, free[ids]) if family else 0
        if common >= max(SHARED, shared // 2):
            shared = common
        else:
            if family:
                yield _Pass(family, shared)
            family, shared = [], free[ids]
        family.append(ids)
    if family:
        yield _Pass(family, shared)


def _common(a: Input, b: Input) -> int:
    """How many first tokens are the same."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _score(model: Model, one: _Pass, asked: list[tuple[int, int, Row]]) -> Iterator[tuple[int, Score]]:
    """``asked`` holds (which input, number of the row, the row)."""
    hidden = _hidden(model, *one)  # (B, T, M)
    targets = torch.tensor([i for _, _, (_, continuation) in asked for i in continuation], device=hidden.device)
    places = [(b, len(x) - 1 + t - one.shared) for b, _, (x, y) in asked for t in range(len(y))]
    states = hidden[[b for b, _ in places], [t for _, t in places]]  # (N, M)
    size = max(LOGITS // model.dims.vocab, 1)
    parts = [_logprobs(model, states[a : a + size], targets[a : a + size]) for a in range(0, len(targets), size)]
    logprobs, likeliest = (torch.cat(kind).tolist() for kind in zip(*parts, strict=True))
    begin = 0
    for _, number, (_, continuation) in asked:
        end = begin + len(continuation)
        yield number, Score(tuple(logprobs[begin:end]), tuple(likeliest[begin:end]))
        begin = end


def _hidden(model: Model, inputs: list[Input], shared: int) -> Tensor:
    """States (B, T, M) of what follows the shared beginning.

    Inputs are filled up at the right with tokens that no real one can see: the layout stays plain.
    """
    weight = next(model.parameters())
    width = max(map(len, inputs))
    tokens = torch.tensor([[*ids[shared:], *[0] * (width - len(ids))] for ids in inputs], device=weight.device)
    if not shared:
        return model.hidden(tokens, Layout.dense(tokens))
    cache = model.cache("slab", 1, model.extra + width, weight.dtype, weight.device)
    beginning = torch.tensor([inputs[0][:shared]], device=weight.device)
    model.hidden(beginning, Layout.dense(beginning, cache))
    cache.select([0] * len(inputs))
    return model.hidden(tokens, Layout.dense(tokens, cache, shared))


def _logprobs(model: Model, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each target, and whether it is the likeliest.  states: (N, M), targets: (N,)."""
    logits = model.head(states[None])[0].float()  # (N, V)
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    return chosen - logits.logsumexp(-1), logits.argmax(-1) == targets
