"""Virtual tokens: vectors that are learned in place of words, and how they enter a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, ShapeError
from ..nn.layout import Layout
from ..nn.model import Model
from ..nn.sites import Entrance, Site
from .attached import switch_of
from .virtual_places import before_all, begins, in_each, shifted

A = TypeVar("A", bound=nn.Module)


def check(length: int, where: str) -> None:
    """Raises ConfigError for no virtual tokens."""
    if length < 1:
        raise ConfigError(f"{where}: length is how many virtual tokens there are, at least 1, found {length}")


def stacks(model: Model) -> list[Model]:
    """Every stack of a model that reads tokens, an encoder's before its decoder's."""
    named = [name.rpartition(".") for name, part in model.named_modules() if isinstance(part, Site)]
    found = [model.get_submodule(parent) for parent, _, leaf in named if leaf == "inputs"]
    return [stack for stack in found if isinstance(stack, Model) and isinstance(stack.embed, nn.Embedding)]


def reader(model: Model, where: str) -> Model:
    """The stack that reads prompts; raises ConfigError for a model whose inputs have no site."""
    for stack in stacks(model):
        if stack.dims is model.source:
            return stack
    raise ConfigError(
        f"{where}: this {model.recipe.family} has no place where vectors could stand before those of tokens; use an "
        "adapter of linear maps, such as lora"
    )


def enter(model: Model, stack: Model, name: str, entrance: Entrance) -> None:
    """Hangs an entrance on a stack of the model; raises ShapeError if no token has room beside its virtual ones."""
    context = stack.dims.context if stack.limit is None else stack.limit
    if entrance.shift >= context:
        raise ShapeError(
            f"{entrance.shift} virtual tokens leave no room for others in a context of {context}; lower length"
        )
    table = stack.embed.weight
    site = stack.get_submodule("inputs")
    assert isinstance(site, Site)
    site.hang(name, alike(entrance, table), switch_of(model))


def alike(part: A, tensor: Tensor) -> A:
    """A new part where the model's tensor lies, in its numbers or in fp32, if those are coarser."""
    return part.to(tensor.device, torch.promote_types(tensor.dtype, torch.float32))


class Kept:
    """What is computed from parameters: anew in training and wherever gradients are on, else once until they change.

    It is computed in the parameters' own numbers, under autocast, too: it is little, and recurrences need them.
    """

    def __init__(self) -> None:
        self.mark: list[tuple[int, int]] = []
        self.made: Tensor | None = None

    def of(self, parameters: Sequence[Tensor], make: Callable[[], Tensor], *, training: bool) -> Tensor:
        kind = parameters[0].device.type
        casts = torch.amp.is_autocast_available(kind)  # the meta device has none
        with torch.autocast(kind, enabled=False) if casts else nullcontext():
            if training or torch.is_grad_enabled():
                self.made = None
                return make()
            mark = [(p.data_ptr(), p._version) for p in parameters]
            if self.made is None or self.mark != mark:
                self.mark, self.made = mark, make()
            return self.made


class Vectors(nn.Module, ABC):
    """Learned vectors for a stack to read.  (n, E)."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Kept()

    @abstractmethod
    def make(self) -> Tensor:
        """(n, E)."""

    def forward(self) -> Tensor:
        return self.kept.of(list(self.parameters()), self.make, training=self.training)


class Shift(Entrance):
    """Tokens stand ``shift`` positions later, as if that many stood before them."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        return x, shifted(layout, self.shift)


class Before(Entrance):
    """Vectors stand before each row: [vectors; x].

    Where tokens look only back, all documents of a packed row share them; where they look ahead, too, each document
    has its own. Later calls with the same cache find them there.
    """

    def __init__(self, vectors: Vectors, length: int, *, foresees: bool) -> None:
        super().__init__()
        self.vectors, self.extra, self.shift, self.foresees = vectors, length, length, foresees

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        if layout.cache is not None and layout.cache.length:
            return x, shifted(layout, self.shift)
        vectors = self.vectors().to(x.dtype)
        if self.foresees and not layout.plain:
            return in_each(vectors, x, layout)
        return torch.cat([vectors.expand(len(x), -1, -1), x], 1), before_all(len(vectors), layout)


class Instead(Entrance):
    """The k-th ``placeholder`` of each document is read as the k-th vector; more of them, and later calls, as ever."""

    undivided = True

    def __init__(self, vectors: Vectors, length: int, placeholder: int) -> None:
        super().__init__()
        self.vectors, self.length, self.placeholder = vectors, length, placeholder

    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        if layout.cache is not None and layout.cache.length:
            return x, layout
        segment = layout.segment if layout.places is None else layout.segment.gather(1, layout.places)
        segment = segment[:, -tokens.shape[1] :]
        hit = (tokens == self.placeholder) & (segment != 0)  # (B, T)
        earlier = hit.cumsum(1) - hit.long()
        number = earlier - (earlier * begins(segment)).cummax(1).values  # within the document, from 0
        vectors = self.vectors().to(x.dtype)
        chosen = vectors[number.clamp(max=self.length - 1)]  # (B, T, E)
        use = (hit & (number < self.length))[..., None]
        if layout.places is not None:
            at = layout.places[..., None].expand_as(chosen)
            return x.scatter(1, at, torch.where(use, chosen, x.gather(1, at))), layout
        own = x[:, -tokens.shape[1] :]
        return torch.cat([x[:, : -tokens.shape[1]], torch.where(use, chosen, own)], 1), layout
