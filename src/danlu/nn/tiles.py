"""Which tiles of queries and keys may meet: found from turns and documents, before any score is computed."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from .layout import Keys, Layout
from .masks import Mask, Range

FAR = 1 << 40
"""Beyond every position and document, and small enough to be subtracted from itself twice."""


class Bounds(NamedTuple):
    """What is known of each tile of a row: its turns and documents, and whether every document sees some of it."""

    turn: Range
    document: Range
    open: Tensor


def meeting(layout: Layout, keys: Keys, mask: Mask, q_tile: int, k_tile: int) -> Tensor:
    """bool (B or 1, T / q_tile, S / k_tile) on the host: False where no query of one may look at any key of the other.

    Sizes are rounded up; plain layouts have one row. Made once a call and shared by layers that share mask and keys;
    where tensors lie on an accelerator, that is when the host waits for it.
    """
    given = (keys.turn, keys.segment)
    return layout.once(("tiles", mask, q_tile, k_tile), given, lambda: _meeting(layout, keys, mask, q_tile, k_tile))


def _meeting(layout: Layout, keys: Keys, mask: Mask, q_tile: int, k_tile: int) -> Tensor:
    rows = slice(0, 1) if layout.plain else slice(None)
    q = _bounds(layout.turn[rows], layout.segment[rows], q_tile)
    k = _bounds(keys.turn[rows], keys.segment[rows], k_tile)
    near = mask.meets(_across(q.turn, -1), _across(k.turn, -2))
    (q_first, q_last), (k_first, k_last) = _across(q.document, -1), _across(k.document, -2)
    same = (q_first <= k_last) & (k_first <= q_last)
    return ((near & same) | k.open[:, None]).cpu()


def _across(value: Range, dim: int) -> Range:
    return value[0].unsqueeze(dim), value[1].unsqueeze(dim)


def _bounds(turn: Tensor, document: Tensor, tile: int) -> Bounds:
    short = -turn.shape[1] % tile
    turn, document = (F.pad(x.long(), (0, short)).unflatten(1, (-1, tile)) for x in (turn, document))
    real = document > 0  # 0 is padding; documents below it are open to all
    return Bounds(_range(turn, real), _range(document, real), (document < 0).any(-1))


def _range(x: Tensor, real: Tensor) -> Range:
    return x.masked_fill(~real, FAR).amin(-1), x.masked_fill(~real, -FAR).amax(-1)
