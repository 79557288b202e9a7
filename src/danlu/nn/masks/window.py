"""Attention to near tokens only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import ConfigError
from . import MASKS, Full, Mask, Range


@MASKS.add("window")
@dataclass(frozen=True, kw_only=True)
class Window(Mask):
    """A query sees keys fewer than ``size`` tokens away; with causal, itself and the size - 1 tokens before.

    allowed(q, k) = |q - k| < size
    Raises: ConfigError if size is below 1.
    Source: Beltagy et al. 2020, arXiv:2004.05150, §3.1; Jiang et al. 2023, arXiv:2310.06825, §2.
    Truth:  tests/truth/test_masks.py (a table written out by hand; Mistral's reference logits beside it).
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"the size of a window is at least 1 token, found {self.size}")

    @property
    def back(self) -> int:
        return self.size

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (q - k).abs() < self.size

    def meets(self, q: Range, k: Range) -> Tensor:
        return (q[0] - k[1] < self.size) & (k[0] - q[1] < self.size)

    def within(self, length: int) -> Mask:
        return Full() if self.size >= length else self
