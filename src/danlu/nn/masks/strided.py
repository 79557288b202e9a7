"""Attention to every n-th token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import ConfigError
from . import MASKS, Full, Mask, Range
from .window import Window


@MASKS.add("strided")
@dataclass(frozen=True, kw_only=True)
class Strided(Mask):
    """A query sees the keys that lie a multiple of ``stride`` tokens away.

    allowed(q, k) = (q - k) mod stride = 0;  strided attention is causal & (window | strided) of one size: two steps
    reach everything before.
    Raises: ConfigError if stride is below 1.
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (strided attention, second head).
    Truth:  tests/truth/test_sparse_masks.py (the paper's sets of connections, and their two-step reach).
    """

    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ConfigError(f"a stride is at least 1 token, found {self.stride}")

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (q - k) % self.stride == 0

    def meets(self, q: Range, k: Range) -> Tensor:
        least, most = q[0] - k[1], q[1] - k[0]
        return most - most % self.stride >= least  # a multiple of the stride lies between

    def within(self, length: int) -> Mask:
        if self.stride == 1:
            return Full()
        return Window(size=1).within(length) if self.stride >= length else self
