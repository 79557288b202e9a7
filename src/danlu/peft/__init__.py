"""Floor 3: adapters, each a way to train few numbers instead of all, attached at the sites of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import nn

from ..core.registry import Registry
from ..core.spec import Spec
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
    exact_start: ClassVar[bool] = True
    """Whether a model answers bit for bit as before when it is attached."""
    example: ClassVar[dict[str, Any]] = {}
    """Settings that make it do all that it can in a training of five steps: what the battery of tests sets."""

    @abstractmethod
    def place(self, model: Model, name: str) -> None:
        """Hangs its attachments under ``name``, or says which of the model's own parameters train.

        New parameters are drawn from torch's global generator. Raises: ConfigError if it finds no place.
        """

    def spelled(self, encode: Callable[[str], Sequence[int]]) -> None:  # noqa: B027  (most have no texts)
        """Takes the token ids of texts among its settings, before it is placed; most have none."""

    def check(self, base: str) -> None:  # noqa: B027  (most have nothing to check)
        """Raises CheckpointError if it was made of parts that belong to another base than the one of this fingerprint.

        An empty one says that nobody took it.
        """

    def settled(self, spec: Spec) -> Spec:
        """What is written down of it once it has its place: the spec it was built from, unless that names files."""
        return spec

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        """What it does in a training of so many steps."""
        return Tending()


ADAPTERS: Registry[type[Adapter]] = Registry("adapter", Adapter, __name__)
