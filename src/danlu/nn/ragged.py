"""Texts of different lengths in one row: each token is computed with the others, each text attends alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .kernels import Ask
from .layout import Keys, Layout
from .pages import Pages, Table


@dataclass(frozen=True)
class Text:
    """The part of a text that is fed: its tokens ``start`` … ``stop``; those before ``first`` are forgotten.

    ``table`` lists its blocks, anything for forgotten ones.
    """

    table: Table
    start: int
    stop: int
    first: int = 0

    @property
    def fed(self) -> int:
        return self.stop - self.start


class Ragged:
    """A cache for one row (1, N) that holds a stretch of each of several texts, one after the other.

    ``length`` is that of the longest text before the call.
    Source: Yu et al. 2022, "Orca", OSDI, §4.2 (selective batching: attention alone is split by request).
    Truth:  tests/truth/test_ragged.py (each text by itself, whole and without a cache).
    """

    def __init__(self, pages: Pages, texts: Sequence[Text]) -> None:
        self.pages, self.texts = pages, texts
        size = pages.size
        places = [text.table[at // size] * size + at % size for text in texts for at in range(text.start, text.stop)]
        self.places = torch.tensor(places, device=pages.device)
        self.where = [pages.find(text.table, text.first, text.stop) for text in texts]
        self.seen = [self._seen(text) for text in texts]

    @property
    def length(self) -> int:
        return max(text.start for text in self.texts)

    def layout(self) -> Layout:
        """Where the tokens of the row sit: each text is a document."""
        device = self.pages.device
        position = [at for text in self.texts for at in range(text.start, text.stop)]
        segment = [number for number, text in enumerate(self.texts, 1) for _ in range(text.fed)]
        return Layout(torch.tensor([position], device=device), torch.tensor([segment], device=device), self)

    def append(self, layer: int, new: Keys) -> Keys:
        self.pages.write(layer, self.places, new.k[0], new.v[0])
        return replace(new, apart=lambda ask, attend: self._each(layer, ask, attend))

    def _each(self, layer: int, ask: Ask, attend: Callable[[Ask], Tensor]) -> Tensor:
        """(1, N, H, D): what each text answers to its own queries."""
        answers, begin = [], 0
        for text, where, (layout, position, segment) in zip(self.texts, self.where, self.seen, strict=True):
            k, v = self.pages.read(layer, where)
            keys = Keys(k[None], v[None], position, segment)
            q = ask.q[:, begin : begin + text.fed]
            answers.append(attend(ask._replace(q=q, keys=keys, layout=layout)))
            begin += text.fed
        return torch.cat(answers, 1) if len(answers) > 1 else answers[0]

    def _seen(self, text: Text) -> tuple[Layout, Tensor, Tensor]:
        """The layout of its queries, and position and segment of its keys: the same objects for all layers."""
        at = torch.arange(text.first, text.stop, device=self.pages.device)[None]
        segment = torch.ones_like(at)
        fed = slice(text.start - text.first, None)
        return Layout(at[:, fed], segment[:, fed], self, plain=True), at, segment


class Alone:
    """A cache for one text in blocks, that answers all its keys: for models that must see them as they are.

    ``held`` places are filled, those before ``first`` forgotten; what comes is written behind them.
    """

    def __init__(self, pages: Pages, table: Table, held: int, first: int = 0) -> None:
        self.pages, self.table, self.held, self.first = pages, table, held, first
        self.filled = [held] * pages.dims.layers

    @property
    def length(self) -> int:
        return self.filled[-1]

    def append(self, layer: int, new: Keys) -> Keys:
        start = self.filled[layer]
        stop = self.filled[layer] = start + new.k.shape[1]
        size = self.pages.size
        places = [self.table[at // size] * size + at % size for at in range(start, stop)]
        self.pages.write(layer, torch.tensor(places, device=self.pages.device), new.k[0], new.v[0])
        k, v = self.pages.read(layer, self.pages.find(self.table, self.first, stop))
        before = start - self.first
        if not before:
            return replace(new, k=k[None], v=v[None])
        return Keys(k[None], v[None], *self._places(before, new))

    def _places(self, before: int, new: Keys) -> tuple[Tensor, Tensor]:
        """Position and segment of all keys: those of earlier calls stand right before the first of this one."""
        first = new.position[:, :1]
        earlier = first - torch.arange(before, 0, -1, device=first.device)
        segment = torch.cat([torch.ones_like(earlier), new.segment], 1)
        return torch.cat([earlier, new.position], 1), segment
