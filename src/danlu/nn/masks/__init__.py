"""Who may attend to whom: masks are values that compose with ``&`` and ``|``, not tensors that travel.

Documents and padding need none: whatever the mask, a kernel lets nobody look beyond a layout's segments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ...core.registry import Registry

FAR, NEAR = 1 << 30, 64
"""Where and how widely a mask is tried: beyond every prefix, across every block's edge."""
Range = tuple[Tensor, Tensor]
"""First and last of the positions in a tile."""


class Mask(ABC):
    """A predicate over the positions of a query and a key.  Frozen values: equality lets a kernel recognize them."""

    @property
    def ahead(self) -> bool:
        """Whether a prompt is to be read in both directions before it is gone on with."""
        return False

    @property
    def back(self) -> int | None:
        """How many tokens a query looks back at most, its own included; None where there is no such number."""
        return None

    @abstractmethod
    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, T, 1) and (B, 1, S) positions → bool (B, T, S), True where the query may look at the key."""

    @final
    @property
    def foresees(self) -> bool:
        """Whether a token far from the beginning may look at one that comes after it."""
        at = torch.arange(FAR, FAR + NEAR, device="cpu")
        return bool((self.allows(at[None, :, None], at[None, None]) & (at > at[:, None])).any())

    def meets(self, q: Range, k: Range) -> Tensor:
        """(B, T, 1) and (B, 1, S) ranges → bool (B, T, S), False only where no query may look at any key.

        Kernels skip what does not meet; a mask that does not know says True.
        """
        return (q[0] == q[0]) & (k[0] == k[0])

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


@dataclass(frozen=True, kw_only=True)
class Joined(Mask, ABC):
    """Two masks as one."""

    a: Mask
    b: Mask

    @staticmethod
    @abstractmethod
    def join(a: Tensor, b: Tensor, /) -> Tensor:
        """bool, bool → what is allowed, or may be."""

    @property
    def ahead(self) -> bool:
        return self.a.ahead or self.b.ahead

    def allows(self, q: Tensor, k: Tensor) -> Tensor:
        return self.join(self.a.allows(q, k), self.b.allows(q, k))

    def meets(self, q: Range, k: Range) -> Tensor:
        return self.join(self.a.meets(q, k), self.b.meets(q, k))


@MASKS.add("both")
@dataclass(frozen=True, kw_only=True)
class Both(Joined):
    """What both masks allow: a & b.

    allowed(q, k) = a(q, k) and b(q, k)
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (attention patterns as sets of connections).
    Truth:  tests/truth/test_masks.py (tables written out by hand).
    """

    join = staticmethod(torch.logical_and)

    @property
    def back(self) -> int | None:
        return min((side for side in (self.a.back, self.b.back) if side is not None), default=None)

    def within(self, length: int) -> Mask:
        a, b = self.a.within(length), self.b.within(length)
        return b if a == Full() else a if b == Full() else Both(a=a, b=b)


@MASKS.add("either")
@dataclass(frozen=True, kw_only=True)
class Either(Joined):
    """What at least one mask allows: a | b.

    allowed(q, k) = a(q, k) or b(q, k)
    Source: Child et al. 2019, arXiv:1904.10509, §4.3 (attention patterns as sets of connections).
    Truth:  tests/truth/test_masks.py (tables written out by hand).
    """

    join = staticmethod(torch.logical_or)

    @property
    def back(self) -> int | None:
        return None if self.a.back is None or self.b.back is None else max(self.a.back, self.b.back)

    def within(self, length: int) -> Mask:
        a, b = self.a.within(length), self.b.within(length)
        return Full() if Full() in (a, b) else Either(a=a, b=b)
