"""Hanging a branch on every sublayer that a pattern means."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.sites import Branch, Site
from ..nn.wirings import Wiring
from .attached import switch_of
from .targets import Pattern, fits, nearest


def hang(model: Model, name: str, pattern: Pattern, make: Callable[[], Branch]) -> None:
    """Makes a branch for each sublayer, in the numbers and on the device that the model has there."""
    like = numbers_of(model)
    for site in branches(model, pattern).values():
        site.hang(name, make().to(like.device, like.dtype), switch_of(model))


def branches(model: Model, pattern: Pattern) -> dict[str, Site]:
    """The sites of sublayers whose names one of the patterns fits: ``blocks.0.ffn``, ``decoder.blocks.1.cross``.

    Raises: ConfigError with the nearest names if a pattern fits none.
    """
    sites = {
        f"{place}.{sublayer}": site
        for place, block in blocks(model).items()
        for sublayer, site in block.branch.items()
        if isinstance(site, Site)
    }
    if not sites:
        raise ConfigError(f"adapter: this {model.recipe.family} has no sublayers that a bottleneck could follow")
    patterns = [pattern] if isinstance(pattern, str) else pattern
    for one in patterns:
        if not any(fits(name, one) for name in sites):
            raise ConfigError(f"adapter: no sublayer is named like {one!r}; {nearest(one, list(sites))}")
    return {name: site for name, site in sites.items() if any(fits(name, one) for one in patterns)}


def blocks(model: Model) -> dict[str, Wiring]:
    """The blocks of a model by name, in the order in which tokens pass: an encoder's, then its decoder's."""
    return {name: part for name, part in model.named_modules() if isinstance(part, Wiring)}


def numbers_of(model: Model) -> torch.Tensor:
    """A tensor of the kind and on the device that the model computes with: its first, which no storage keeps."""
    return next(p for p in model.parameters() if p.is_floating_point())
