"""Where virtual tokens stand, and where others stand beside them: layouts of rows that have some."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nn.layout import SHARED, Layout


def begins(segment: Tensor) -> Tensor:
    """Where a document begins, or padding does.  bool (B, T)."""
    return segment != F.pad(segment[:, :-1], (1, 0), value=SHARED)


def shifted(layout: Layout, by: int) -> Layout:
    """The same tokens, ``by`` positions later."""
    order = None if layout.order is None else layout.order + by
    return layout.elsewhere(position=_later(layout, by), order=order, first=layout.first + by)


def before_all(count: int, layout: Layout) -> Layout:
    """The layout of rows that virtual tokens stand before, shared by the documents of each."""
    rows = len(layout.segment)
    at = _counted(layout, count).expand(rows, -1)
    mine = layout.segment[:, :1].expand(-1, count) if layout.plain else at * 0 + SHARED
    spans = layout.spans and tuple((row, start + count, stop + count) for row, start, stop in layout.spans)
    return layout.elsewhere(
        position=torch.cat([at, _later(layout, count)], 1),
        segment=torch.cat([mine, layout.segment], 1),
        order=None if layout.order is None else torch.cat([at, layout.order + count], 1),
        token_type=_filled(layout.token_type, count),
        inner=_filled(layout.inner, count),
        spans=None if layout.plain else spans,
        first=layout.first + count,
        shared=0 if layout.plain else layout.shared + count,
    )


def in_each(vectors: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    """Rows in which the vectors stand at the beginning of every document.  (n, E), (B, T, E) → (B, T + n · D, E)."""
    count, (rows, length, _) = len(vectors), x.shape
    real = layout.segment != 0
    starts = begins(layout.segment) & real
    number = starts.cumsum(1)  # documents begun so far
    place = torch.arange(length, device=x.device) + count * number  # (B, T)
    wide = length + count * int(number[:, -1].max())
    row, start = starts.nonzero(as_tuple=True)
    slots = place[row, start][:, None] - count + torch.arange(count, device=x.device)  # (documents, n)
    row = row[:, None].expand_as(slots)

    def laid(values: Tensor, virtual: Tensor) -> Tensor:
        """(B, T), and (n) or (documents, n), to (B, T + n · D); what neither fills is padding."""
        wider = values.new_zeros(rows, wide).scatter(1, place, values)
        return wider.index_put((row, slots), virtual.to(values.dtype).expand_as(slots))

    at = _counted(layout, count)[0]
    made = x.new_zeros(rows, wide, x.shape[2]).scatter(1, place[..., None].expand_as(x), x)
    made = made.index_put((row, slots), vectors.expand(*slots.shape, -1))
    return made, layout.elsewhere(
        position=laid(layout.position + count, at),
        segment=laid(layout.segment, layout.segment[starts][:, None]),
        order=None if layout.order is None else laid(layout.order + count, at),
        token_type=None if layout.token_type is None else laid(layout.token_type, at * 0),
        inner=None if layout.inner is None else laid(layout.inner, at * 0),
        places=place if layout.places is None else place.gather(1, layout.places),
        spans=None,
        first=layout.first + count,
    )


def _counted(layout: Layout, count: int) -> Tensor:
    """Positions of virtual tokens: before those of all that is there.  (1, n)."""
    first = layout.first - layout.shared
    return torch.arange(first, first + count, device=layout.position.device)[None]


def _later(layout: Layout, by: int) -> Tensor:
    rows = slice(0, 1) if layout.plain else slice(None)
    return (layout.position[rows] + by).expand_as(layout.position)


def _filled(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else F.pad(values, (count, 0))
