"""Several methods under one name, and gates that say how much of each acts."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.layout import Keys, Layout
from ..nn.model import Model
from ..nn.sites import Attachment, Branch, Delta, KeySource
from . import Adapter, Tending
from .attached import sites_of


class Sum(Adapter, ABC):
    """All its parts act at once, each at its own sites.

    Raises: ConfigError if two want the same place, or one moves weights of the base.
    """

    parts: tuple[Adapter, ...]

    def spelled(self, encode: Callable[[str], Sequence[int]]) -> None:
        for part in self.parts:
            part.spelled(encode)

    def place(self, model: Model, name: str) -> None:
        for part in self.parts:
            if part.changes_base:
                raise ConfigError(f"{type(part).__name__} moves weights of the base itself, so it is no part of a sum")
            part.place(model, name)

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        return All([part.tending(model, name, steps) for part in self.parts])


class All(Tending):
    """What several methods do while they are trained."""

    def __init__(self, tendings: Sequence[Tending]) -> None:
        self.tendings = tendings

    def pace(self, step: int) -> float:
        return math.prod(tending.pace(step) for tending in self.tendings)

    def graded(self, step: int) -> None:
        for tending in self.tendings:
            tending.graded(step)

    def moved(self, step: int) -> Sequence[nn.Parameter]:
        return [parameter for tending in self.tendings for parameter in tending.moved(step)]


class Gate(nn.Module):
    """w x + b, one number for each token, 0 at the start: σ of it is how much acts.  (B, T, in) → (B, T, 1)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(1, size)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))

    def blend(self, x: Tensor, y: Tensor, changed: Tensor) -> Tensor:
        """y + σ · (changed - y)."""
        return torch.lerp(y, changed.to(y.dtype), self(x).sigmoid().to(y.dtype))


class GatedDelta(Delta):
    """y + g(x) · (what the inner delta makes of y, less y)."""

    def __init__(self, inner: Delta, size: int) -> None:
        super().__init__(inner.base)
        self.inner, self.gate = inner, Gate(self.base.in_features)

    def reads(self, x: Tensor) -> Tensor:
        given = self.inner.reads(x)
        return x if given is x else self.gate.blend(x, x, given)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.gate.blend(x, y, self.inner(x, y.clone()))  # deltas may write into what they are given

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        raise ConfigError("a gate depends on what is read, which no weight does; keep the adapter beside")


class GatedBranch(Branch):
    """y + g(x) · (what the inner branch makes of y, less y)."""

    def __init__(self, inner: Branch, size: int) -> None:
        super().__init__()
        self.inner, self.gate = inner, Gate(size)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.gate.blend(x, y, self.inner(x, y))


class GatedKeys(KeySource):
    """Each query weighs the inner source's keys g(x) times as much as others: log g is added to their scores."""

    def __init__(self, inner: KeySource, size: int) -> None:
        super().__init__()
        self.inner, self.gate = inner, Gate(size)

    def forward(self, keys: Keys, x: Tensor, layout: Layout) -> Keys:
        made: Keys = self.inner(keys, x, layout)
        count = made.open - keys.open
        lift = F.logsigmoid(self.gate(x)).expand(-1, -1, count)  # (B, T, n)
        lift = F.pad(lift, (0, keys.open))
        return Keys(
            made.k, made.v, made.position, made.segment, made.order, made.open,
            lift if made.lift is None else lift + made.lift,
        )  # fmt: skip


GATED: dict[type[Attachment], Callable[..., Attachment]] = {
    Delta: GatedDelta, Branch: GatedBranch, KeySource: GatedKeys,
}  # fmt: skip


def gate(model: Model, name: str) -> None:
    """Puts a gate before every attachment of this name that acts within a block."""
    for _, site in sites_of(model):
        if name not in site:
            continue
        inner = site[name]
        made = next((made for kind, made in GATED.items() if isinstance(inner, kind)), None)
        if made is not None:
            like = next(inner.parameters())
            site[name] = made(inner, model.dims.model).to(like.device, like.dtype)
