"""How frozen linear maps are kept: the kind, whose parts lie in ``danlu.quant``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.registry import Registry
from .linear import Linear, Map
from .routers import Router
from .wirings import Wiring


class Stored(Map, ABC):
    """A frozen map kept in fewer bits than it computes with."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its storage's, for messages."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What a published checkpoint keeps for the weight, by the suffix of the tensor's name; "" is the weight."""

    def linear(self) -> Linear:
        """The same map with full weights, in fp32."""
        made = Linear(self.out_features, self.in_features, axes=self.axes, bias=self.bias is not None)
        made.put(self.dense(), self.bias)
        return made.to(self.dense().device)

    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        raise ConfigError(
            f"weights kept as {self.name} cannot take a merged adapter without rounding it; merge into the base that "
            "was not quantized (danlu merge reads it again), or say --dequantize"
        )


class Storage(ABC):
    """A way to keep the weight of a frozen linear map. ``bits`` a parameter, constants included."""

    bits: float

    @abstractmethod
    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Stored:
        """A map that answers nearly as ``weight`` (out, in) does. The bias stays as it is."""

    def published(self) -> dict[str, Any] | None:
        """``quantization_config`` of a config.json; None for a way that other libraries do not know."""
        return None

    @classmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        """The storage that a ``quantization_config`` describes; None if it is another's."""
        return None

    def restore(self, tensors: dict[str, Tensor], bias: Tensor | None, axes: tuple[str, str]) -> Stored:
        """The map whose ``tensors()`` these are; raises CheckpointError for what does not fit together."""
        raise NotImplementedError


STORAGES: Registry[type[Storage]] = Registry("storage", Storage, "danlu.quant")


def store(model: nn.Module, storage: Storage) -> None:
    """Keeps the linear maps of a model's blocks in a storage from now on."""
    for name, part in maps_of(model).items():
        parent, _, leaf = name.rpartition(".")
        kept = storage.keep(part.weight.detach(), None if part.bias is None else part.bias.detach(), part.axes)
        setattr(model.get_submodule(parent), leaf, kept)


def maps_of(model: nn.Module) -> dict[str, Linear]:
    """The linear maps that a storage may keep, by name: those of blocks, but for routers. Heads and tables stay."""
    found: dict[str, Linear] = {}
    for place, block in model.named_modules():
        if isinstance(block, Wiring):
            found |= {f"{place}.{name}": part for name, part in block.named_modules() if isinstance(part, Linear)}
    routers = {id(part) for module in model.modules() if isinstance(module, Router) for part in module.modules()}
    return {name: part for name, part in found.items() if id(part) not in routers}
