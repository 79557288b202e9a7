"""Attention to the last tokens of every block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import ConfigError
from . import MASKS, Full, Mask, Range


@MASKS.add("summary")
@dataclass(frozen=True, kw_only=True)
class Summary(Mask):
    """Every query sees the ``last`` tokens of each block of ``size``.

    allowed(q, k) = k mod size ≥ size - last;  fixed attention is causal & (block | summary) of one size: two steps
    reach everything before.
    Raises: ConfigError if last is not between 1 and size.
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (fixed attention, second head).
    Truth:  tests/truth/test_sparse_masks.py (the paper's sets of connections, and their two-step reach).
    """

    size: int
    last: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.last <= self.size:
            raise ConfigError(
                f"a summary is the last 1 to size tokens of a block, found last = {self.last}, size = {self.size}"
            )

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (k % self.size >= self.size - self.last) & (q == q)

    def meets(self, q: Range, k: Range) -> Tensor:
        wait = (self.size - self.last - k[0] % self.size).clamp(min=0)  # tokens from the first to the next that is seen
        return (k[0] + wait <= k[1]) & (q[0] == q[0])

    def within(self, length: int) -> Mask:
        return Full() if self.last == self.size else self
