"""Attention within blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import ConfigError
from . import MASKS, Full, Mask, Range


@MASKS.add("block")
@dataclass(frozen=True, kw_only=True)
class Block(Mask):
    """Positions are cut into blocks of ``size``; a query sees its own block and ``near`` blocks to each side.

    allowed(q, k) = |⌊q / size⌋ - ⌊k / size⌋| ≤ near
    Raises: ConfigError if size is below 1 or near below 0.
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (fixed attention, first head); Zaheer et al. 2020,
    arXiv:2007.14062, §2 (blocks beside one's own).
    Truth:  tests/truth/test_sparse_masks.py (the paper's sets of connections, and tables written out by hand).
    """

    size: int
    near: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.near < 0:
            raise ConfigError(
                f"a block has at least 1 token and at least 0 near it, found size = {self.size}, near = {self.near}"
            )

    @property
    def back(self) -> int:
        return (self.near + 1) * self.size

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (q // self.size - k // self.size).abs() <= self.near

    def meets(self, q: Range, k: Range) -> Tensor:
        (q_first, q_last), (k_first, k_last) = ([at // self.size for at in side] for side in (q, k))
        return (q_first - k_last <= self.near) & (k_first - q_last <= self.near)

    def within(self, length: int) -> Mask:
        furthest = -(-(length - 1) // self.size)  # blocks between two tokens at most length - 1 apart
        return Full() if furthest <= self.near else self
