"""Ways to compute softmax(q k) v without parameters: one serves, the reference says what is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ...core.errors import ConfigError
from ...core.registry import Registry
from ..layout import Keys, Layout
from ..masks import Mask
from ..positions import Position


class Ask(NamedTuple):
    """What attention wants to know.  q: (B, T, H, D); keys of (B, S, K, D) with H a multiple of K."""

    q: Tensor
    keys: Keys
    layout: Layout
    mask: Mask
    position: Position


class Kernel(ABC):
    """softmax(q kᵀ / sqrt(D) + what the position adds) v over allowed keys; a query without any answers zeros."""

    @abstractmethod
    def refuses(self, ask: Ask) -> str | None:
        """Why this kernel cannot serve, from facts known on the host; None if it can."""

    @abstractmethod
    def run(self, ask: Ask) -> Tensor:
        """(B, T, H, D)."""


KERNELS: Registry[type[Kernel]] = Registry("kernel", Kernel, __name__)


def attend(ask: Ask, kernels: Sequence[Kernel]) -> Tensor:
    """The answer of the first kernel that does not refuse; raises ConfigError with everyone's reason if all do."""
    reasons = []
    for kernel in kernels:
        reason = kernel.refuses(ask)
        if reason is None:
            return kernel.run(ask)
        reasons.append(f"{KERNELS.name_of(kernel)}: {reason}")
    raise ConfigError(f"no attention kernel serves this model: {'; '.join(reasons)}; add the kernel 'reference'")


def allowed(ask: Ask) -> Tensor:
    """Who may look at whom: the mask, the same document, no padding.  bool (B, T, S), or (1, T, S) in plain layouts.

    Made once a call for layers that share a mask and keys at the same places.
    """
    layout, keys = ask.layout, ask.keys
    return layout.once(("allowed", ask.mask), (keys.position, keys.segment), lambda: _allowed(ask))


def _allowed(ask: Ask) -> Tensor:
    rows = slice(0, 1) if ask.layout.plain else slice(None)
    q_at, q_document = ask.layout.position[rows, :, None], ask.layout.segment[rows, :, None]
    k_at, k_document = ask.keys.position[rows, None], ask.keys.segment[rows, None]
    same = (q_document == k_document) & (k_document != 0)
    return (ask.mask.allows(q_at, k_at) & same) | (k_document < 0)
