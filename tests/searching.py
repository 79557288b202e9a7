"""Drives a search without an engine: every row is read whole at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from danlu.infer.contrasts import Contrast, Voices
from danlu.infer.decoders import DECODERS
from danlu.infer.filters import Filter
from danlu.infer.searches import Answer, Asked, Search
from danlu.nn.model import Model

Reader = Callable[[Tensor], tuple[Tensor, Tensor]]
"""tokens (R, T) → states (R, T, M) and logits (R, V) after the last."""


@dataclass
class Path:
    """A row as the parts that choose see it."""

    prompt: Sequence[int]
    tokens: tuple[int, ...] = ()
    random: torch.Generator = field(default_factory=torch.Generator)


def drive(search: Search, read: Reader, prompt: Sequence[int]) -> list[Answer]:
    """What the search finds, each step checked: at most ``width`` rows, every one going on from one that is there."""
    rows, fed = [Path(prompt)], len(prompt)
    for _ in range(search.limit + 1):
        states, logits = read(torch.tensor([[*row.prompt, *row.tokens] for row in rows]))
        choice = search.choose(Asked(logits, rows, tuple(states[:, -fed:])))
        if not choice.tokens:
            return search.answers()
        assert len(choice.tokens) == len(choice.parents) <= search.width
        rows = [Path(prompt, (*rows[p].tokens, t)) for t, p in zip(choice.tokens, choice.parents, strict=True)]
        fed = 1
    raise AssertionError(f"not over after {search.limit} tokens")


def greedy(
    read: Reader, prompt: Sequence[int], filters: Sequence[Filter], stops: frozenset[int], limit: int
) -> list[int]:
    """The likeliest token after each other, in one row."""
    row = Path(prompt)
    decoder = DECODERS["greedy"](filters)
    while len(row.tokens) < limit and not stops & set(row.tokens):
        logits = read(torch.tensor([[*prompt, *row.tokens]]))[1]
        row.tokens = (*row.tokens, int(decoder.choose(logits, [row])))
    return list(row.tokens)


@torch.no_grad()
def _read(model: Model, tokens: Tensor) -> tuple[Tensor, Tensor]:
    states = model.hidden(tokens)
    return states, model.head(states[:, -1]).float()


def reader(model: Model) -> Reader:
    return lambda tokens: _read(model, tokens)


def remembering(read: Reader) -> Reader:
    """The same for many searches of like texts: no row is read twice."""
    known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def again(tokens: Tensor) -> tuple[Tensor, Tensor]:
        rows = [tuple(row) for row in tokens.tolist()]
        if new := [place for place, row in enumerate(rows) if row not in known]:
            for place, states, logits in zip(new, *read(tokens[new]), strict=True):
                known[rows[place]] = states, logits
        found = [known[row] for row in rows]
        return torch.stack([states for states, _ in found]), torch.stack([logits for _, logits in found])

    return again


def markov(table: Tensor) -> Reader:
    """A model whose logits depend on the last token alone.  table: (V, V)."""
    return lambda tokens: (torch.ones(*tokens.shape, 2), table[tokens[:, -1]])


@torch.no_grad()
def voices(model: Any, tokens: Tensor, layers: Sequence[int]) -> Voices:
    """A stack's logits after the last token, and those of the head on what enters these blocks."""
    entering: dict[int, Tensor] = {}
    hooks = [
        block.register_forward_pre_hook(lambda _, given, n=n: entering.__setitem__(n, given[0][:, -1]))
        for n, block in enumerate(model.blocks)
    ]
    logits = _read(model, tokens)[1]
    for hook in hooks:
        hook.remove()
    return Voices(logits, early={layer: model.head(entering[layer]) for layer in layers})


def contrasted(model: Any, contrast: Contrast, *, tied: bool) -> Reader:
    layers = contrast.layers(len(model.blocks), tied=tied)
    return lambda tokens: (torch.zeros(*tokens.shape, 1), contrast(voices(model, tokens, layers)))
