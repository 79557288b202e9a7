"""PEFT's own folders: a format turns the settings and tensors of one ``peft_type`` into an adapter, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from ...core.registry import Registry
from ...core.spec import Spec
from ...nn.sites import Attachment
from .. import Adapter
from .fields import Fields
from .published import Published

Tensors = dict[str, Tensor]


@dataclass
class Opened:
    """What a folder of PEFT's is here: an adapter not built yet, and its tensors under the names of its sites."""

    spec: Spec
    state: Tensors
    also: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Holding:
    """What an adapter of ours holds: its tensors by the names of its sites, and what it hung there, by their places."""

    state: Mapping[str, Tensor]
    parts: Mapping[str, Attachment]

    @property
    def own(self) -> Tensors:
        """Its values of the model's own parameters, by our names."""
        begin = "model."
        return {name.removeprefix(begin): tensor for name, tensor in self.state.items() if name.startswith(begin)}


class Format(ABC):
    """One ``peft_type``. Tensors of PEFT's come without the ``base_model.model.`` before their names."""

    methods: ClassVar[tuple[str, ...]]
    """The adapters that are written in it, by the names of recipes."""
    prefix: ClassVar[str] = "base_model.model."
    """What stands before the names of tensors in a file."""

    @abstractmethod
    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        """The adapter; raises CheckpointError for a setting or tensor that cannot be served."""

    @abstractmethod
    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        """Settings and tensors; raises ConfigError with the reason if PEFT has no words for this adapter."""


def parameters_of(own: Mapping[str, Tensor]) -> Tensors:
    """Values of the model's own parameters as a part of an adapter's state."""
    return {f"model.{name}": tensor for name, tensor in own.items()}


FORMATS: Registry[type[Format]] = Registry("adapter format", Format, __name__)
