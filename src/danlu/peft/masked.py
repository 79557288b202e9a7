"""Training some numbers of a parameter and leaving the others as they are, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.layout import Layout
from ..nn.model import Model
from ..nn.sites import Entrance, Site
from . import Tending
from .attached import switch_of


class Masks(Entrance):
    """A number beside each number of some parameters, which checkpoints keep; what enters the model stays as it is."""

    def __init__(self, values: Mapping[str, Tensor], *, saved: bool) -> None:
        super().__init__()
        self.keys = {name: name.replace(".", "/") for name in values}
        for name, value in values.items():
            self.register_buffer(self.keys[name], value, persistent=saved)

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        return x, layout

    def of(self, name: str) -> Tensor:
        """What lies beside the parameter of this name."""
        return self.get_buffer(self.keys[name])


class Masking(Tending):
    """After each step, numbers whose mask is 0 are what they were, whatever the optimizer does to them.

    The values before the step are held only while weights move, when no activations are.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], masks: Masks) -> None:
        self.parameters, self.masks = parameters, masks
        self.before: dict[str, Tensor] = {}

    def moves(self, name: str) -> Tensor:
        """Which numbers move in this step, of the parameter's shape."""
        return self.masks.of(name).bool()

    @torch.no_grad()
    def graded(self, step: int) -> None:
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad.mul_(self.moves(name))
            self.before[name] = parameter.detach().clone()

    @torch.no_grad()
    def moved(self, step: int) -> Sequence[nn.Parameter]:
        for name, parameter in self.parameters.items():
            parameter.copy_(torch.where(self.moves(name), parameter, self.before.pop(name)))
        return ()


def hang(model: Model, name: str, masks: Masks) -> None:
    """Puts masks where tokens enter the model; raises ConfigError for a model without such a place."""
    site = next((p for at, p in model.named_modules() if isinstance(p, Site) and f".{at}".endswith(".inputs")), None)
    if site is None:
        raise ConfigError(
            f"adapter: this {model.recipe.family} has no place to keep masks; choose whole parameters, for "
            "example with adapter: last_layers"
        )
    site.hang(name, masks, switch_of(model))


def masks_of(model: Model, name: str) -> Masks:
    """The masks of an adapter."""
    return next(site[name] for site in model.modules() if isinstance(site, Site) and name in site)  # type: ignore[return-value]
