"""Learned scores for buckets of distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from ..linear import Embedding
from . import POSITIONS, Position


@POSITIONS.add("t5")
class T5(Position):
    """Adds to each score a learned number of its head for the bucket in which the distance falls.

    score + table[bucket(n), h],  n = query - key; near distances have a bucket each, those up to ``distance`` share
    them logarithmically, those beyond share the last: with E = buckets / 2,
    bucket(n) = n for 0 ≤ n < E, else min(buckets - 1, E + ⌊E · ln(n / E) / ln(distance / E)⌋).
    Later keys fall in bucket 0; if ``bidirectional``, half of all buckets are theirs.  table: (buckets, H)
    Raises: ConfigError if there are too few buckets to halve, or no distance beyond the near ones.
    Source: Raffel et al. 2019, arXiv:1910.10683, §2.1; the released code for the buckets.
    Truth:  tests/truth/test_relative_biases.py (shared fixture and transformers' buckets over settings).
    """

    def __init__(self, dims: Dims, *, buckets: int = 32, distance: int = 128, bidirectional: bool = False) -> None:
        super().__init__(dims)
        share = 2 if bidirectional else 1
        near = buckets // share // 2
        if near < 1 or buckets % (2 * share) or distance <= near:
            raise ConfigError(
                f"t5 needs buckets in multiples of {2 * share} and a distance beyond the near half of them, found "
                f"buckets = {buckets}, distance = {distance}"
            )
        self.table = Embedding(buckets, dims.heads, axes=("bucket", "heads"))
        self.furthest = distance
        self.bucket = _buckets(buckets, distance, bidirectional)  # of key - query from -distance to distance

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        if self.bucket.device != q_at.device:
            self.bucket = self.bucket.to(q_at.device)
        apart = (k_at[:, None] - q_at[:, :, None]).clamp_(-self.furthest, self.furthest).add_(self.furthest)
        by_distance = self.table.weight[self.bucket].t().contiguous()  # (H, 2 · distance + 1)
        return by_distance.index_select(1, apart.flatten()).view(-1, *apart.shape).transpose(0, 1)  # (B, H, T, S)


def _buckets(buckets: int, distance: int, bidirectional: bool) -> Tensor:
    """The bucket of every key - query from -distance to distance, in the released code's float32."""
    apart = torch.arange(-distance, distance + 1, device="cpu")
    first = torch.zeros_like(apart)
    if bidirectional:
        buckets //= 2
        first = (apart > 0) * buckets
        past = apart.abs()
    else:
        past = (-apart).clamp(min=0)
    near = buckets // 2
    share = torch.log(past.clamp(min=1).float() / near) / math.log(distance / near)
    far = (near + (share * (buckets - near)).long()).clamp(max=buckets - 1)
    return first + torch.where(past < near, past, far)
