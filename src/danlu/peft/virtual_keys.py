"""Virtual keys and values at every attention, learned as they are or through a small network."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.attention import Attends
from ..nn.layout import OPEN, Keys, Layout
from ..nn.model import Model
from ..nn.sites import KeySource
from .attached import switch_of
from .branches import numbers_of
from .virtual import Kept, Shift, alike, check, enter, stacks

STD = 0.02


class Trunk(nn.Module):
    """tanh(W P' + b), what all layers' keys and values are made of.  P': (n, size), W: (width, size) → (n, width)."""

    def __init__(self, length: int, size: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(length, size))
        self.down = nn.Linear(size, width)

    def forward(self) -> Tensor:
        return self.down(self.tokens).tanh()


class VirtualKeys(KeySource):
    """n keys and values before those of tokens, not rotated, that every document sees.  numbers: (n, 2, K, D).

    With a trunk they are a linear map of its answer; the layer that ``owns`` it keeps it for all. ``first`` is the
    position of the first of them.
    """

    def __init__(self, length: int, heads: tuple[int, int], trunk: Trunk | None, *, owns: bool, first: int) -> None:
        super().__init__()
        self.length, self.heads, self.first = length, heads, first
        self.trunks = [] if trunk is None else [trunk]  # listed: one of the layers owns it
        if trunk is None:
            self.numbers = nn.Parameter(torch.randn(length, 2, *heads) * STD)
        else:
            self.up = nn.Linear(trunk.down.out_features, 2 * heads[0] * heads[1])
        if owns and trunk is not None:
            self.trunk = trunk
        self.kept = Kept()

    def made(self) -> Tensor:
        """(n, 2, K, D)."""
        if not self.trunks:
            return self.numbers
        parameters = [*self.trunks[0].parameters(), *self.up.parameters()]
        return self.kept.of(parameters, self._make, training=self.training)

    def _make(self) -> Tensor:
        return self.up(self.trunks[0]()).view(self.length, 2, *self.heads)

    def forward(self, keys: Keys, x: Tensor, layout: Layout) -> Keys:
        rows = len(keys.k)
        k, v = self.made().to(keys.k.dtype).unbind(1)
        given = (keys.position, keys.segment, keys.order)
        places = layout.once(
            ("virtual", self.length, self.first), given, lambda: _before(keys, self.length, self.first)
        )
        return Keys(
            torch.cat([k.expand(rows, -1, -1, -1), keys.k], 1),
            torch.cat([v.expand(rows, -1, -1, -1), keys.v], 1),
            *places,
            open=keys.open + self.length,
            lift=None if keys.lift is None else F.pad(keys.lift, (self.length, 0)),
        )


class Places(NamedTuple):
    """As in Keys.  (B, S) each."""

    position: Tensor
    segment: Tensor
    order: Tensor | None


def _before(keys: Keys, count: int, first: int) -> Places:
    at = torch.arange(first, first + count, device=keys.position.device).expand(len(keys.position), -1)
    order = None if keys.order is None else torch.cat([at, keys.order], 1)
    position = torch.cat([at, keys.position], 1)
    return Places(position, F.pad(keys.segment, (count, 0), value=OPEN), order)


def hang(model: Model, name: str, *, length: int, width: int | None, shift: bool, where: str) -> None:
    """Virtual keys at every attention of a model, and the shift of its tokens.

    Raises: ConfigError for a model without attention, ShapeError if virtual tokens leave no room for others.
    """
    check(length, where)
    if width is not None and width < 1:
        raise ConfigError(f"{where}: width is that of the network which makes the keys, at least 1, found {width}")
    layers = [part for part in model.modules() if isinstance(part, Attends)]
    if not layers:
        raise ConfigError(
            f"{where}: this {model.recipe.family} has no attention to which keys could be added; use a model that has"
        )
    if shift:
        for stack in stacks(model):
            enter(model, stack, name, Shift(length))
    trunks: dict[int, Trunk] = {}
    like = numbers_of(model)
    for layer in layers:
        size = layer.k.out_features
        owns = width is not None and size not in trunks
        if owns and width is not None:
            trunks[size] = Trunk(length, size, width)
        heads = (size // layer.head, layer.head)
        part = VirtualKeys(length, heads, trunks.get(size), owns=owns, first=0 if shift else -length)
        layer.kv.hang(name, alike(part, like), switch_of(model))
