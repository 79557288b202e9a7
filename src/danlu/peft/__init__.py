"""Floor 3: adapters, each a way to train few numbers instead of all, attached at the sites of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from ..core.registry import Registry
from ..nn.model import Model


class Tending:
    """What a method does while it is trained, beside what its attachments compute; here, nothing.

    Steps are counted from 1. All that must survive a kill lies in buffers of the attachments, which checkpoints keep.
    """

    def pace(self, step: int) -> float:
        """What the learning rate of this step is multiplied by."""
        return 1.0

    def graded(self, step: int) -> None:
        """The gradients of the step are there, divided and clipped; weights have not moved yet."""

    def moved(self, step: int) -> Sequence[nn.Parameter]:
        """Weights have moved; answers the parameters whose optimizer state is to be forgotten."""
        return ()


class Adapter(ABC):
    """One method with its settings: where it attaches, and what of the model it trains."""

    changes_base: ClassVar[bool] = False
    """Whether training moves weights of the model itself, so that a checkpoint must hold them too."""
    merges: ClassVar[bool] = False
    """Whether a model without it can answer the same."""

    @abstractmethod
    def place(self, model: Model, name: str) -> None:
        """Hangs its attachments under ``name``, or says which of the model's own parameters train.

        New parameters are drawn from torch's global generator. Raises: ConfigError if it finds no place.
        """

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        """What it does in a training of so many steps."""
        return Tending()


ADAPTERS: Registry[type[Adapter]] = Registry("adapter", Adapter, __name__)
