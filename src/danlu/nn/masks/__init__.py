"""Who may attend to whom: masks are values that compose with ``&`` and ``|``, not tensors that travel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from ...core.registry import Registry


class Mask(ABC):
    """A predicate over the positions of a query and a key.  Frozen values: equality lets a kernel recognize them."""

    @abstractmethod
    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, T, 1) and (B, 1, S) positions → bool (B, T, S), True where the query may look at the key."""

    def within(self, length: int) -> Mask:
        """The simplest equal mask where no query and key are ``length`` or more tokens apart."""
        return self

    def __and__(self, other: Mask) -> Mask:
        return Both(a=self, b=other)

    def __or__(self, other: Mask) -> Mask:
        return Either(a=self, b=other)


MASKS: Registry[type[Mask]] = Registry("mask", Mask, __name__)


@MASKS.add("full")
@dataclass(frozen=True)
class Full(Mask):
    """Every query sees every key.

    allowed(q, k) = true
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.3 (encoder self-attention).
    Truth:  tests/truth/test_masks.py (a table written out by hand).
    """

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return (q == q) & (k == k)


@MASKS.add("both")
@dataclass(frozen=True, kw_only=True)
class Both(Mask):
    """What both masks allow: a & b.

    allowed(q, k) = a(q, k) and b(q, k)
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (attention patterns as sets of connections).
    Truth:  tests/truth/test_masks.py (tables written out by hand).
    """

    a: Mask
    b: Mask

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return self.a.allows(q, k) & self.b.allows(q, k)

    def within(self, length: int) -> Mask:
        a, b = self.a.within(length), self.b.within(length)
        return b if a == Full() else a if b == Full() else Both(a=a, b=b)


@MASKS.add("either")
@dataclass(frozen=True, kw_only=True)
class Either(Mask):
    """What at least one mask allows: a | b.

    allowed(q, k) = a(q, k) or b(q, k)
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (attention patterns as sets of connections).
    Truth:  tests/truth/test_masks.py (tables written out by hand).
    """

    a: Mask
    b: Mask

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return self.a.allows(q, k) | self.b.allows(q, k)

    def within(self, length: int) -> Mask:
        a, b = self.a.within(length), self.b.within(length)
        return Full() if Full() in (a, b) else Either(a=a, b=b)
