"""Ways to compute softmax(q k) v without parameters: one serves, the reference says what is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError
from ...core.registry import Registry
from ..layout import OPEN, Keys, Layout
from ..masks import Mask
from ..positions import Position
from ..remade import recomputing


class Ask(NamedTuple):
    """What attention wants to know.  q: (B, T, H, D); keys of (B, S, K, D) with H a multiple of K.

    Scores are q kᵀ · factor; ``scale`` is that factor, 1 / sqrt(D) unless given.
    """

    q: Tensor
    keys: Keys
    layout: Layout
    mask: Mask
    position: Position
    scale: float | None = None

    @property
    def factor(self) -> float:
        return self.q.shape[-1] ** -0.5 if self.scale is None else self.scale


class Kernel(ABC):
    """softmax(q kᵀ · factor + what the position adds) v over allowed keys; a query without any answers zeros."""

    whole: ClassVar[bool] = True
    """Whether it reads what the position adds between all queries and keys at once."""

    def excludes(self, position: Position, mask: Mask) -> str | None:
        """Why it can never serve a layer with this position and mask, known when a model is built; None if it may."""
        return None

    def refuses(self, ask: Ask) -> str | None:
        """Why it cannot serve this question, from facts known on the host; None if it can."""
        return self.excludes(ask.position, ask.mask)

    @abstractmethod
    def run(self, ask: Ask) -> Tensor:
        """(B, T, H, D)."""


KERNELS: Registry[type[Kernel]] = Registry("kernel", Kernel, __name__)


def attend(ask: Ask, kernels: Sequence[Kernel]) -> Tensor:
    """The answer of the first kernel that does not refuse; raises ConfigError with everyone's reason if all do.

    Texts that attend apart are asked one by one.
    """
    if ask.keys.apart is not None:
        return ask.keys.apart(ask, lambda one: attend(one, kernels))
    kernel = next((kernel for kernel in kernels if kernel.refuses(ask) is None), None)
    if kernel is None:
        raise _none_serves(kernels, [kernel.refuses(ask) for kernel in kernels])
    return kernel.run(ask)


def fitting(kernels: Sequence[Kernel], position: Position, mask: Mask) -> tuple[Kernel, ...]:
    """Those that may serve a layer with this position and mask.

    Raises: ConfigError with everyone's reason if none may.
    """
    reasons = [kernel.excludes(position, mask) for kernel in kernels]
    fit = tuple(kernel for kernel, reason in zip(kernels, reasons, strict=True) if reason is None)
    if not fit:
        raise _none_serves(kernels, reasons)
    return fit


def _none_serves(kernels: Sequence[Kernel], reasons: Sequence[str | None]) -> ConfigError:
    told = "; ".join(f"{KERNELS.name_of(kernel)}: {reason}" for kernel, reason in zip(kernels, reasons, strict=True))
    return ConfigError(f"no attention kernel serves this model: {told}; add the kernel 'reference'")


def allowed(ask: Ask) -> Tensor:
    """Who may look at whom: the mask, the same document, no padding.  bool (B, T, S), or (1, T, S) in plain layouts.

    Made once a call for layers that share a mask and keys at the same places.
    """
    layout, keys = ask.layout, ask.keys
    return layout.once(("allowed", ask.mask), (keys.turn, keys.segment), lambda: _allowed(ask))


def lifted(ask: Ask) -> str | None:
    """Why a kernel that never shows scores cannot serve keys that queries weigh by themselves; None without them."""
    return None if ask.keys.lift is None else "queries lift some of the keys, and its scores are never shown"


def lift(ask: Ask) -> Tensor | None:
    """What queries add by themselves to the scores of keys, zeros beyond the open ones.  (B, T, S)."""
    added = ask.keys.lift
    return None if added is None else F.pad(added, (0, ask.keys.k.shape[1] - added.shape[-1]))


def bias(ask: Ask) -> Tensor:
    """What the position adds to scores, -inf where nothing may be seen; a blind query sees all and must be zeroed.

    (B or 1, H, T, S), made once a call for layers that share mask and position; a block that is recomputed makes its
    own, because what carries a gradient must be made again with it.
    """
    added = ask.position.bias_of(ask.layout, ask.keys)

    def make() -> Tensor:
        may = allowed(ask)
        return added.masked_fill(~(may | ~may.any(-1, keepdim=True))[:, None], -torch.inf)

    if added.requires_grad and recomputing():
        return make()
    return ask.layout.once(("bias", ask.position, ask.mask), (ask.keys.position, ask.keys.turn, ask.keys.segment), make)


def _allowed(ask: Ask) -> Tensor:
    rows = slice(0, 1) if ask.layout.plain else slice(None)
    q_at, q_document = ask.layout.turn[rows, :, None], ask.layout.segment[rows, :, None]
    k_at, k_document = ask.keys.turn[rows, None], ask.keys.segment[rows, None]
    return sees(ask.mask, q_at, q_document, k_at, k_document)


def sees(mask: Mask, q_at: Tensor, q_document: Tensor, k_at: Tensor, k_document: Tensor) -> Tensor:
    """Whether queries may look at keys, from the positions and documents of both: element by element, broadcast.

    All documents see the keys of document -1, whatever the mask, and those of -2 as if they were their own.
    """
    same = (q_document == k_document) & (k_document != 0) | (k_document < OPEN)
    return (mask.allows(q_at, k_at) & same) | (k_document == OPEN)
