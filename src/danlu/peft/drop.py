"""Bottlenecks left out of the first layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.rng import Rng
from ..nn.model import Model
from ..nn.sites import Branch
from . import ADAPTERS, Adapter, Tending
from .attached import sites_of
from .branches import blocks
from .counts import Count
from .houlsby import Houlsby


class Droppable(Branch):
    """Another branch, of block number ``layer``, which is silent while that is among the first that go without.

    How many these are is drawn for each step of training, and told elsewhere. The seed of the drawing is kept, too.
    """

    def __init__(self, inner: Branch, layer: int) -> None:
        super().__init__()
        self.inner, self.layer, self.drawn, self.seed, self.told = inner, layer, Count(), Count(), 0
        self.seed.put(torch.initial_seed() % 2**63)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        without = self.drawn.value if self.training else self.told
        return y if self.layer < without else self.inner(x, y)


class Drawing(Tending):
    """Draws anew before each step how many layers go without, by the number of the step before."""

    def __init__(self, parts: Sequence[Droppable], fewest: int, most: int) -> None:
        self.parts, self.fewest, self.most = parts, fewest, most

    def moved(self, step: int) -> Sequence[nn.Parameter]:
        rng = Rng(self.parts[0].seed.value, "layers without", step)  # of the step to come
        drawn = self.fewest + rng.below(self.most - self.fewest + 1)
        for part in self.parts:
            part.drawn.put(drawn)
        return ()


@ADAPTERS.add("drop")
class AdapterDrop(Adapter):
    """Leaves bottlenecks out of the first layers, so that backward ends early and the layers run as the base does.

    Layer l has its bottleneck if l ≥ n. ``first``: n is fixed, and there are none below; ``random``: each training step
    draws n from first … random, which makes an adapter that stands the leaving out of any such n later
    (``leave_out``). Layers count in the order in which tokens pass them, an encoder's before its decoder's.

    Trains what ``adapter`` trains in the layers from ``first`` on.
    Raises: ConfigError if no layer is left, or ``adapter`` does not act on what sublayers answer.
    Source: Rücklé et al. 2021, arXiv:2010.11918, §3 (specialized and robust AdapterDrop).
    Truth:  tests/truth/test_peft_drop.py (equals the adapter without those layers; backward's FLOPs counted).
    """

    example: ClassVar[dict[str, Any]] = {"random": 1}

    def __init__(self, *, adapter: Adapter | None = None, first: int = 0, random: int = 0) -> None:
        if first < 0 or (random and random < first):
            raise ConfigError(
                f"adapter drop: first is at least 0 and random, if given, at least first; found {first} and {random}"
            )
        self.adapter, self.first, self.random = adapter or Houlsby(), first, random

    def place(self, model: Model, name: str) -> None:
        layers = list(blocks(model))
        if max(self.first, self.random) >= len(layers):
            raise ConfigError(
                f"adapter drop: first and random stay below the {len(layers)} layers of this model, found {self.first} "
                f"and {self.random}"
            )
        self.adapter.place(model, name)
        for place, site in sites_of(model):
            if name not in site:
                continue
            part, layer = site.pop(name), next((n for n, at in enumerate(layers) if place.startswith(f"{at}.")), None)
            if layer is None or not isinstance(part, Branch):
                kind = type(self.adapter).__name__
                raise ConfigError(
                    f"adapter drop: {kind} does not act on what sublayers answer; use houlsby or pfeiffer"
                )
            if layer >= self.first:
                site[name] = Droppable(part, layer)
        self.tending(model, name, 0).moved(0)

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        return Drawing(_parts(model, name), self.first, self.random) if self.random else Tending()


def leave_out(model: Model, name: str, first: int) -> None:
    """From now on the adapter acts in evaluation only in the layers from number ``first`` on."""
    for part in _parts(model, name):
        part.told = first


def _parts(model: Model, name: str) -> list[Droppable]:
    return [cast(Droppable, site[name]) for _, site in sites_of(model) if name in site]
