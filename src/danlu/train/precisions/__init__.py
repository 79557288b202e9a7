"""In which numbers a step is computed, and weights are kept. The optimizer's states stay fp32 in all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch

from ...core.errors import DanluError
from ...core.registry import Registry


class Scale(ABC):
    """What a loss is multiplied by so that small gradients survive a narrow format.

    ``update(overflowed)`` is told after every step whether gradients were finite. State is JSON.
    """

    value: float

    @abstractmethod
    def update(self, overflowed: bool) -> None:
        """Moves the scale; raises DanluError if it cannot go lower."""

    def state(self) -> dict[str, float]:
        return {"value": self.value}

    def restore(self, state: dict[str, float]) -> None:
        self.value = state["value"]

    def at_its_lowest(self) -> DanluError:
        return DanluError(
            f"gradients overflow fp16 even at the lowest loss scale ({self.value:g}); train in bf16 or fp32, lower the "
            f"learning rate, or go back to an earlier checkpoint"
        )


SCALES: Registry[type[Scale]] = Registry("loss scale", Scale, f"{__name__}.scales")


class Precision(ABC):
    """The number format of matrix products. ``scale`` is None where gradients need no help.

    ``weights`` is the dtype the model's weights are kept in. If that is narrower than float32, weights that train have
    float32 ``masters`` beside them, or are rounded by chance. What an adapter trains is kept in float32 all the same.
    """

    scale: Scale | None = None
    weights: torch.dtype = torch.float32
    masters: bool = True

    def around_run(self) -> AbstractContextManager[object]:
        """Entered once round a run: switches of the whole process."""
        return nullcontext()

    @abstractmethod
    def forward(self, device: str) -> AbstractContextManager[object]:
        """Entered round every forward pass. ``device``: "cpu" or "cuda"."""


PRECISIONS: Registry[type[Precision]] = Registry("precision", Precision, __name__)
