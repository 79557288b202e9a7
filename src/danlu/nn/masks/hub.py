"""A few tokens through which all others reach each other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import ConfigError
from . import MASKS, Mask, Range


@MASKS.add("hub")
@dataclass(frozen=True, kw_only=True)
class Hub(Mask):
    """The first ``length`` positions see every key and are seen by every query; ``window | hub`` is Longformer's.

    allowed(q, k) = q < length or k < length
    Raises: ConfigError if length is below 1.
    Source: Beltagy et al. 2020, arXiv:2004.05150, §3.1 (global attention); Zaheer et al. 2020, arXiv:2007.14062, §2.
    Truth:  tests/truth/test_sparse_masks.py (a table written out by hand).
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"a hub has at least 1 token, found length = {self.length}")

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (q < self.length) | (k < self.length)

    def meets(self, q: Range, k: Range) -> Tensor:
        return (q[0] < self.length) | (k[0] < self.length)
