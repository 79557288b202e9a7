"""Adapters that add nothing: they choose which of the model's own parameters train."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.sites import own
from ..nn.storages import Stored
from . import Adapter
from .targets import Pattern, fits, nearest


class Choosing(Adapter, ABC):
    """Some parameters of the model train, and have values of the adapter's own while it acts."""

    merges = True

    @abstractmethod
    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        """What trains, by name; raises ConfigError if there is nothing of the kind."""

    def place(self, model: Model, name: str) -> None:
        for parameter in self.chosen(model).values():
            parameter.requires_grad_(True)


def parameters(model: Model) -> dict[str, nn.Parameter]:
    """The model's own parameters, tied ones once, under the first of their names."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, tensor in own(model):
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def named(model: Model, pattern: Pattern) -> dict[str, nn.Parameter]:
    """The parameters that one of the patterns fits, by their own names or those of the parts that hold them.

    Raises: ConfigError with the nearest names if a pattern fits none, or fits weights that are kept in a storage.
    """
    whole = parameters(model)
    homes = {name: (name, name.rpartition(".")[0]) for name in whole}
    patterns = [pattern] if isinstance(pattern, str) else pattern
    for one in patterns:
        refuse_stored(model, one)
        if not any(fits(name, one) for names in homes.values() for name in names):
            names = sorted({home for _, home in homes.values()} | set(whole))
            raise ConfigError(f"adapter: no parameter is named like {one!r}; {nearest(one, names)}")
    return {n: p for n, p in whole.items() if any(fits(name, one) for name in homes[n] for one in patterns)}


def refuse_stored(model: Model, pattern: str) -> None:
    """Raises ConfigError if a pattern means weights that are kept in a storage, which cannot train."""
    for place, part in model.named_modules():
        if isinstance(part, Stored) and fits(place.removesuffix(".origin"), pattern):
            raise ConfigError(
                f"adapter: {place} is kept as {part.name}, which cannot train; strike storage, or use an adapter that "
                "adds numbers, such as lora"
            )
