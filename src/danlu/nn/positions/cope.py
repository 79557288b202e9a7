"""Positions counted in what the query finds worth counting."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..layout import Keys, Layout
from ..linear import Embedding
from . import POSITIONS, Position


@POSITIONS.add("cope")
class Cope(Position):
    """Each query counts the keys it opens a gate for, and adds the score of a learned vector for that count.

    g_ij = σ(s_ij),  p_ij = Σ g_ik over the allowed keys k from j on,  s_ij + q_i · e[p_ij] / sqrt(D),  where
    e at a count between whole numbers is interpolated and counts end at ``positions`` - 1.  s: scaled scores;
    e: (positions, D), shared by heads and layers.  Counts depend on contents, so no kernel can know them by tiles.
    Raises: ConfigError if there are fewer than 2 positions.
    Source: Golovneva et al. 2024, arXiv:2405.18719, §4.
    Truth:  tests/truth/test_contextual_positions.py (loops over Python floats; open gates count tokens).
    """

    def __init__(self, dims: Dims, *, positions: int = 64) -> None:
        super().__init__(dims)
        if positions < 2:
            raise ConfigError(f"cope tells at least 2 positions apart, found positions = {positions}")
        self.table = Embedding(positions, dims.head, axes=("position", "head"))

    def score(self, scores: Tensor, q: Tensor, layout: Layout, keys: Keys, allowed: Tensor) -> Tensor:
        last = self.table.num_embeddings - 1
        gates = scores.sigmoid().masked_fill(~allowed[:, None], 0.0)
        count = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=last)  # (B, H, T, S)
        below = count.detach().long().clamp_(max=last - 1)
        at = torch.einsum("bthd,pd->bhtp", q.to(scores.dtype), self.table.weight.to(scores.dtype)) * q.shape[-1] ** -0.5
        low, high = at.gather(-1, below), at.gather(-1, below + 1)
        return scores + low + (high - low) * (count - below)
