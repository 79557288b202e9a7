"""How frozen linear maps are kept: the kind, whose parts lie in ``danlu.quant``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.registry import Registry
from .linear import Linear, Map
from .routers import Router
from .sites import Adapted, Attachment
from .wirings import Wiring


class Stored(Map, ABC):
    """A frozen map kept in fewer bits than it computes with.

    What it is kept in are buffers, which ``model.to(dtype)`` moves but never converts; the bias is a parameter and
    converts as others do.
    """

    def __init__(self, storage: Storage, shape: tuple[int, int], bias: Tensor | None, axes: tuple[str, str]) -> None:
        super().__init__()
        self.storage, self.axes = storage, axes
        self.out_features, self.in_features = shape
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    @abstractmethod
    def name(self) -> str:
        """Its storage's, for messages."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What a published checkpoint keeps for the weight, by the end of the tensor's name: "weight" and others."""

    @abstractmethod
    def rows(self) -> dict[str, Tensor]:
        """Tensors whose first side is the map's output and which carry it: what maps are joined and cut by.

        Raises: ConfigError if a block of constants spans rows.
        """

    def read(self, x: Tensor) -> Tensor:
        """What its weights are multiplied with instead of x: rounded, where activations are."""
        return x

    def take(self, other: Stored) -> None:
        """Keeps what another map of the same shape keeps, but for its bias."""
        self._buffers = other._buffers

    def linear(self) -> Linear:
        """The same map with full weights, in fp32."""
        weight = self.dense().float()
        with torch.device("meta"):
            made = Linear(self.out_features, self.in_features, axes=self.axes, bias=self.bias is not None)
        made.to_empty(device=weight.device).put(weight, self.bias)
        return made

    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        raise ConfigError(
            f"weights kept as {self.name} cannot take a merged adapter without rounding it; merge into the base that "
            "was not quantized (danlu merge reads it again), or say --dequantize"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves buffers as ``fn`` does, in the dtype they have."""
        buffers = {id(buffer) for buffer in self.buffers()}

        def moved(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            converted = id(tensor) in buffers and made.dtype != tensor.dtype
            return tensor.to(made.device) if converted else made

        super()._apply(moved, recurse)
        return self


class Storage(ABC):
    """A way to keep the weight of a frozen linear map.

    ``bits`` a parameter, constants included. Checkpoints keep plain tensors unless the way is published.
    """

    bits: float

    @abstractmethod
    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Stored:
        """A map that answers nearly as ``weight`` (out, in) does. The bias stays as it is."""


class PublishedStorage(Storage, ABC):
    """A storage that other libraries read and write.

    ``beside`` are the ends of names (see ``Stored.tensors``) by which a checkpoint shows that it keeps a weight so:
    all but "weight".
    """

    beside: Collection[str]
    upright: ClassVar[bool] = False
    """Whether others read it only where they keep a map as (out, in)."""

    @abstractmethod
    def published(self, dtype: torch.dtype, plain: Sequence[str] = ()) -> dict[str, Any]:
        """``quantization_config`` of a config.json.

        ``dtype`` is that of the model's other numbers, ``plain`` the published names of linear maps left as they are.
        """

    @classmethod
    @abstractmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        """The storage that a ``quantization_config`` describes; None if it is another's."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor], bias: Tensor | None, axes: tuple[str, str]) -> Stored:
        """The map whose ``tensors()`` these are; raises CheckpointError for what does not fit together."""

    @abstractmethod
    def of_rows(self, rows: dict[str, Tensor], bias: Tensor | None, like: Stored) -> Stored:
        """The map whose ``rows()`` these are, kept as ``like`` is."""


def side_by_side(parts: Sequence[Stored]) -> Stored | None:
    """One map with the outputs of several, in whose memory they lie from now on; None if they cannot be joined.

    They can where they are kept alike, and what carries their outputs is all that they keep.
    """
    first = parts[0]
    way = first.storage
    if not isinstance(way, PublishedStorage) or any(_laid(part) != _laid(first) for part in parts):
        return None
    rows = [part.rows() for part in parts]
    joined = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
    pieces = {key: tensor.split([part.out_features for part in parts]) for key, tensor in joined.items()}
    for number, part in enumerate(parts):
        part.take(way.of_rows({key: piece[number] for key, piece in pieces.items()}, None, part))
    return way.of_rows(joined, _biases(parts), first)


def _biases(parts: Sequence[Stored]) -> Tensor | None:
    """End to end, zeros where there is none; None where there are none at all."""
    some = next((part.bias for part in parts if part.bias is not None), None)
    if some is None:
        return None
    return torch.cat([some.new_zeros(p.out_features) if p.bias is None else p.bias.detach() for p in parts])


def _laid(part: Stored) -> Any:
    """What maps must have in common to be joined; only itself, where its outputs do not carry all it keeps."""
    kept = dict(part.named_buffers())
    if any(tensor.dim() < 2 or len(tensor) != part.out_features for tensor in kept.values()):
        return part
    return type(part.storage), part.in_features, [(key, t.shape[1:], t.dtype) for key, t in kept.items()]


STORAGES: Registry[type[Storage]] = Registry("storage", Storage, "danlu.quant")


def store(model: nn.Module, storage: Storage) -> None:
    """Keeps the linear maps of a model's blocks in a storage from now on; those kept in one already stay.

    Raises: ConfigError if there are none.
    """
    made: dict[int, Stored] = {}
    for name, part in keepable(model).items():
        if id(part.weight) not in made:  # blocks may share their weights
            bias = None if part.bias is None else part.bias.detach()
            made[id(part.weight)] = storage.keep(part.weight.detach(), bias, part.axes)
        replace(model, name, made[id(part.weight)])


def keepable(model: nn.Module) -> dict[str, Linear]:
    """``maps_of``; raises ConfigError if a model has none, and keeps none in a storage."""
    found = maps_of(model)
    if not found and not any(isinstance(part, Stored) for part in model.modules()):
        raise ConfigError("storage: this model has no blocks whose linear maps could be kept; strike storage")
    return found


def replace(model: nn.Module, name: str, part: Map) -> None:
    """Puts a map in the place of another, without the adapters of which it is named; they stay."""
    parent, _, leaf = name.rpartition(".")
    owner = model.get_submodule(parent)
    if isinstance(adapted := getattr(owner, leaf), Adapted):
        owner, leaf = adapted, "origin"
    setattr(owner, leaf, part)


def maps_of(model: nn.Module) -> dict[str, Linear]:
    """The linear maps that a storage may keep, by name: those of blocks, but for routers and adapters.

    Heads and tables stay.
    """
    found: dict[str, Linear] = {}
    for place, block in model.named_modules():
        if isinstance(block, Wiring):
            found |= {f"{place}.{name}": part for name, part in block.named_modules() if isinstance(part, Linear)}
    others = {id(p) for m in model.modules() if isinstance(m, (Router, Attachment)) for p in m.modules()}
    return {name: part for name, part in found.items() if id(part) not in others}
