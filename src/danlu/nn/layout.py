"""Where the tokens of this call sit: all that differs between training, prefill, decoding and packed documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
Span = tuple[int, int, int]
OPEN, SHARED = -1, -2
"""Documents of keys that every document sees: whatever the mask says, or as if they were its own tokens."""


@dataclass(frozen=True, eq=False, slots=True)
class Keys:
    """What the queries of one layer may look at.  k, v: (B, S, K, D); position, segment: (B, S).

    segment 0 is padding, -1 is seen by every query (keys of adapters) and -2 by every document as its own (virtual
    tokens); ``order`` as in Layout. ``open`` is a fact set by the maker: so many first keys of every row are -1.
    ``lift`` (B, T, open) is added to the scores that queries give these, in all heads. ``apart`` answers for texts
    that attend each by itself, given what is asked and how one of them is served.
    """

    k: Tensor
    v: Tensor
    position: Tensor
    segment: Tensor
    order: Tensor | None = None
    open: int = 0
    lift: Tensor | None = None
    apart: Callable[[Any, Callable[[Any], Tensor]], Tensor] | None = None

    @property
    def turn(self) -> Tensor:
        """What masks compare with the queries' turns.  (B, S)"""
        return self.position if self.order is None else self.order


class Store(Protocol):
    """What earlier calls left.  ``length`` counts the tokens stored a row so far and is known on the host."""

    @property
    def length(self) -> int: ...


class Cache(Store, Protocol):
    """Keys of earlier calls."""

    def append(self, layer: int, new: Keys) -> Keys:
        """Stores this call's keys of one layer and answers all keys its queries may look at."""
        ...


@dataclass(frozen=True, eq=False)
class Memory:
    """What an encoder read, for a decoder to look at.  hidden: (B, S, M); position, segment: (B, S).

    A decoder's document s looks at the memory's document s. ``plain`` as in Layout.
    """

    hidden: Tensor
    position: Tensor
    segment: Tensor
    plain: bool = False
    made: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def keys(self, layer: int, make: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Keys:
        """Keys and values of one layer of the decoder; made once where no gradient is recorded."""
        if torch.is_grad_enabled():
            return Keys(*make(self.hidden), self.position, self.segment)
        if layer not in self.made:
            self.made[layer] = make(self.hidden)
        return Keys(*self.made[layer], self.position, self.segment)

    def select(self, rows: list[int]) -> Memory:
        """The memory of these rows, what was made of it included."""
        chosen = Memory(self.hidden[rows], self.position[rows], self.segment[rows], self.plain)
        chosen.made.update({layer: (k[rows], v[rows]) for layer, (k, v) in self.made.items()})
        return chosen


@dataclass(frozen=True, eq=False)
class Layout:
    """position, segment: (B, T); segment 0 is padding, equal segments of a row are one document.

    ``token_type`` (B, T) tells kinds of tokens apart (the two sentences of a pair); ``inner`` (B, T) is a second
    position (within a span that is filled in); ``memory`` is what cross-attention looks at. ``order`` (B, T) is what
    masks compare instead of positions: tokens of equal order see each other under a causal mask (a prefix seen in both
    directions has the order of its last token), and so may have any position. ``aside`` collects what
    parts add to the loss of this call: name → sums that an objective adds, each already weighed; ``pooled`` what makes
    such a sum only when all layers have left theirs (``leave``); ``told`` numbers that are only reported, one a layer.

    ``spans`` and ``plain`` are facts set by the maker, never asked of a tensor: ``spans`` lists (row, start, stop) of
    every document, positions counting from ``first`` in each; ``plain`` says that every row is one document without
    padding and that all rows stand at the same positions, in order and without gaps. The first ``shared`` tokens of
    every row are virtual ones that all of its documents see; ``spans`` leaves them out. ``places`` (B, T) is where the
    call's own tokens stand among virtual ones, if not at the end of rows.
    """

    position: Tensor
    segment: Tensor
    cache: Store | None = None
    spans: tuple[Span, ...] | None = None
    plain: bool = False
    first: int = 0
    shared: int = 0
    places: Tensor | None = None
    token_type: Tensor | None = None
    inner: Tensor | None = None
    memory: Memory | None = None
    order: Tensor | None = None
    aside: dict[str, list[Tensor]] = field(default_factory=dict, init=False, repr=False)
    pooled: dict[str, tuple[Callable[[list[Any]], Tensor], list[Any]]] = field(
        default_factory=dict, init=False, repr=False
    )
    told: dict[str, list[Tensor]] = field(default_factory=dict, init=False, repr=False)
    memo: dict[object, tuple[tuple[object, ...], Any]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def dense(cls, tokens: Tensor, cache: Store | None = None, start: int = 0) -> Layout:
        """One document a row, beginning at position ``start``.  tokens: (B, T)."""
        rows, length = tokens.shape[:2]
        position = torch.arange(start, start + length, device=tokens.device).expand(rows, length)
        return cls(position, position.new_ones(1).expand(rows, length), cache, plain=True)

    @classmethod
    def of(cls, position: Tensor, segment: Tensor, **more: Any) -> Layout:
        """Packed rows: finds where documents lie if the tensors are on the host.  (B, T) each.

        Rows with an ``order`` of their own are served by the whole mask.
        """
        known = segment.device.type == "cpu" and more.get("order") is None
        spans = documents(position, segment) if known else None
        rows, length = segment.shape
        plain = spans == tuple((row, 0, length) for row in range(rows))
        return cls(position, segment, None, spans, plain, **more)

    @property
    def turn(self) -> Tensor:
        """What masks compare: the order where there is one, positions elsewhere.  (B, T)"""
        return self.position if self.order is None else self.order

    def across(self) -> Layout:
        """This call's queries as cross-attention sees them: all that is known of keys is known of the memory's."""
        assert self.memory is not None
        plain = self.plain and self.memory.plain
        return self.once("across", (), lambda: Layout(self.position, self.segment, plain=plain))

    def elsewhere(self, **changes: Any) -> Layout:
        """The same call with its tokens placed otherwise; what parts leave for the objective is left here, too."""
        new = replace(self, **changes)
        for shared in ("aside", "pooled", "told"):
            object.__setattr__(new, shared, getattr(self, shared))
        return new

    def keys(self, layer: int, k: Tensor, v: Tensor) -> Keys:
        """All keys the queries of this call may look at in ``layer``: k, v themselves, or what the cache answers."""
        new = Keys(k, v, self.position, self.segment, self.order)
        return new if self.cache is None else cast(Cache, self.cache).append(layer, new)

    def leave(self, name: str, fold: Callable[[list[Any]], Tensor], mine: Any) -> None:
        """``fold`` makes of what all layers left under this name one sum that an objective adds, already weighed."""
        self.pooled.setdefault(name, (fold, []))[1].append(mine)

    def asides(self) -> dict[str, Tensor]:
        """All that is added to the loss of this call, a scalar a name."""
        sums = {name: torch.stack(values).sum() for name, values in self.aside.items()}
        return {**sums, **{name: fold(left) for name, (fold, left) in self.pooled.items()}}

    def once(self, key: object, given: tuple[object, ...], make: Callable[[], T]) -> T:
        """What depends only on ``given`` (compared by identity) is made once a call and shared by all layers.

        Not for what carries a gradient: a recomputed block would find it made already.
        """
        if not self.made(key, given):
            self.memo[key] = (given, make())
        return self.memo[key][1]

    def made(self, key: object, given: tuple[object, ...]) -> bool:
        """Whether ``once`` has made it already."""
        held = self.memo.get(key)
        return held is not None and all(a is b for a, b in zip(held[0], given, strict=True))


def documents(position: Tensor, segment: Tensor) -> tuple[Span, ...] | None:
    """(row, start, stop) of every document, in order; None if they are not contiguous, counted from 0.  (B, T) each."""
    begins = torch.ones_like(segment, dtype=torch.bool)
    begins[:, 1:] = segment[:, 1:] != segment[:, :-1]
    real = segment != 0
    follows = torch.zeros_like(position)
    follows[:, 1:] = position[:, :-1] + 1
    if not torch.equal(position[real], follows.masked_fill(begins, 0)[real]):
        return None
    length = segment.shape[1]
    starts = begins.nonzero().tolist()
    stops = [start if row == r else length for (r, start), (row, _) in zip(starts[1:], starts, strict=False)] + [length]
    kinds = segment[begins].tolist()
    return tuple((r, a, b) for (r, a), b, kind in zip(starts, stops, kinds, strict=True) if kind != 0)
