"""What training minimizes: an objective turns a model and a batch into a sum and its weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.batch import Record
from ..core.registry import Registry
from ..nn.layout import Layout
from ..nn.model import Model


@dataclass(frozen=True)
class Loss:
    """A SUM and what it was summed over: parts of a batch just add, means would not.

    ``total`` carries the gradient; ``weight`` and the sums in ``metrics`` do not. What is minimized, and reported, is
    Σ total / Σ weight over all parts of a step.
    """

    total: Tensor
    weight: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def with_aside(loss: Loss, layout: Layout) -> Loss:
    """The loss with what parts of the model added aside (a router's balance), each weighed like one token's loss."""
    if not layout.aside:
        return loss
    sums = {name: torch.stack(values).sum() * loss.weight for name, values in layout.aside.items()}
    total = loss.total + torch.stack(list(sums.values())).sum()
    return Loss(total, loss.weight, {**loss.metrics, **{name: value.detach() for name, value in sums.items()}})


class Objective(nn.Module, ABC):
    """One technique of training. ``companions`` are its other networks: frozen (a reference) or trained (a critic).

    ``chunk`` is how many tokens' logits may exist at once.
    """

    reads: ClassVar[type[Record]]

    def __init__(self, chunk: int = 1024) -> None:
        super().__init__()
        self.chunk = chunk
        self.companions = nn.ModuleDict()

    @abstractmethod
    def loss(self, model: Model, batch: Any) -> Loss:
        """The loss of a batch of the kind ``reads`` names, with gradients where autograd records them."""


OBJECTIVES: Registry[type[Objective]] = Registry("objective", Objective, __name__)
