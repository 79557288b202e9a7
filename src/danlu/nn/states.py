"""What recurrent layers keep of earlier calls, and how packed rows are cut into documents for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..core.errors import ConfigError
from .caches import Kept
from .cells import Cell, State
from .layout import Layout, Span


class States(Kept):
    """The state of every layer after the tokens so far: as large after a thousand tokens as after one.

    Raises: ConfigError if it is to be taken back to an earlier token, which a state does not remember.
    """

    def __init__(self, layers: int, rows: int) -> None:
        self.layers: list[State | None] = [None] * layers
        self.rows, self._length = rows, 0

    @property
    def length(self) -> int:
        return self._length

    def read(self, tokens: int) -> None:
        """So many more tokens a row were read."""
        self._length += tokens

    def fork(self) -> States:
        """Another one with the same past: layers are answered anew, never changed in place."""
        other = States(len(self.layers), self.rows)
        other.layers, other._length = list(self.layers), self._length
        return other

    def truncate(self, length: int) -> None:
        if not length:
            self.layers = [None for _ in self.layers]
            self._length = 0
        elif length < self._length:
            raise ConfigError(
                f"a recurrent model keeps no state of token {length} of {self._length}; begin anew, or keep a copy"
            )

    def select(self, rows: Sequence[int]) -> None:
        chosen = list(rows)
        self.layers = [state and tuple(part[:, chosen] for part in state) for state in self.layers]
        self.rows = len(chosen)


@dataclass(frozen=True, eq=False)
class Cut:
    """Rows of documents and padding laid out as torch's recurrence reads them: the longest document first.

    ``index``: places of real tokens in the flattened rows, step by step; ``sizes``: how many documents have a step;
    ``rows``: the row of each document; ``going``: which of them go on from an earlier call; ``last``: the documents
    that end their rows.
    """

    index: Tensor
    sizes: Tensor
    rows: Tensor
    going: list[int]
    last: list[int]

    @classmethod
    def of(cls, layout: Layout) -> Cut:
        spans = sorted(spans_of(layout), key=lambda span: span[1] - span[2])
        kept = layout.cache is not None and layout.cache.length > 0
        first = layout.position[:, 0].tolist() if kept else []
        row, start, stop = torch.tensor(spans, dtype=torch.long, device="cpu").view(-1, 3).T  # (documents,) each
        step = torch.arange(max((b - a for _, a, b in spans), default=0), device="cpu")[:, None]
        there = step < stop - start  # (steps, documents)
        index = (row * layout.segment.shape[1] + start + step)[there]
        ends = {r: number for number, (r, _, _) in sorted(enumerate(spans), key=lambda one: one[1][1])}
        return cls(
            index.to(layout.segment.device), there.sum(1), row,
            [number for number, (r, begin, _) in enumerate(spans) if kept and not begin and first[r] > 0],
            list(ends.values()),
        )  # fmt: skip

    def through(self, cell: Cell, x: Tensor, before: State | None) -> tuple[Tensor, State]:
        """States (B, T, M), zeros at padding, and the state in which each row is left."""
        rows, length, width = x.shape
        held = before or cell.begin(rows, x)
        state = cell.begin(len(self.rows), x)
        if self.going:
            goes = self.rows[self.going]
            for whole, part in zip(state, held, strict=True):
                whole[:, self.going] = part[:, goes].to(whole.dtype)
        y, after = cell.run(PackedSequence(x.flatten(0, 1)[self.index], self.sizes), state)
        out = y.data.new_zeros(rows * length, width).index_copy(0, self.index, y.data)
        left = self.rows[self.last]
        return out.view(rows, length, width), tuple(
            part.to(new.dtype).index_copy(1, left.to(part.device), new[:, self.last])
            for part, new in zip(held, after, strict=True)
        )


def spans_of(layout: Layout) -> Sequence[Span]:
    """(row, start, stop) of every document; asks the tensor on the host where the layout does not say."""
    if layout.spans is not None:
        return layout.spans
    found: list[Span] = []
    for row, segments in enumerate(layout.segment.tolist()):
        edges = [t for t in range(1, len(segments)) if segments[t] != segments[t - 1]]
        for start, stop in zip([0, *edges], [*edges, len(segments)], strict=True):
            if segments[start]:
                found.append((row, start, stop))
    return found


def through(cell: Cell, x: Tensor, layout: Layout, before: State | None) -> tuple[Tensor, State]:
    """States after each token, each document by itself, and those in which rows are left.  x: (B, T, M)."""
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind)  # the meta device has none
    with torch.autocast(kind, enabled=False) if casts else nullcontext():  # rounding would add up from token to token
        x = x.to(cell.weight_hh_l0.dtype)
        if layout.plain:
            return cell.run(x, before)
        cut = layout.once("cut", (layout.segment,), lambda: Cut.of(layout))
        return cut.through(cell, x, before) if len(cut.rows) else (torch.zeros_like(x), before or cell.begin(len(x), x))
