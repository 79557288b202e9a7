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
from .vocabulary import Vocabulary


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
    """The loss with what parts of the model added aside (a router's balance), each weighed like one token's loss.

    What they only told is reported as its mean over layers.
    """
    if not (layout.aside or layout.pooled or layout.told):
        return loss
    sums = {name: value * loss.weight for name, value in layout.asides().items()}
    told = {name: torch.stack(values).mean() * loss.weight for name, values in layout.told.items()}
    metrics = {name: value.detach() for name, value in (*sums.items(), *told.items())}
    return Loss(sum(sums.values(), loss.total), loss.weight, {**loss.metrics, **metrics})


class Objective(nn.Module, ABC):
    """One technique of training. ``companions`` are its other networks: frozen (a reference) or trained (a critic).

    ``chunk`` is how many tokens' logits may exist at once; ``vocabulary`` says which ids are no text.
    """

    reads: ClassVar[type[Record]]
    """What the data gives."""
    codes_text: ClassVar[bool] = False
    """Whether the loss of held-out rows is the length of a code for their text, which bits per byte are taken of."""

    def __init__(self, chunk: int = 1024, vocabulary: Vocabulary | None = None) -> None:
        super().__init__()
        self.chunk, self.vocabulary = chunk, vocabulary or Vocabulary()
        self.companions = nn.ModuleDict()

    def check(self, model: Model) -> None:
        """Raises ConfigError for a model that cannot be asked, before data is made for it; here, what comes next."""
        model.expect_next()

    def sample(self, record: Any, step: int = 0) -> Any:
        """What ``loss`` reads, made from a whole batch of the data on the host, before it is cut into parts.

        All that is drawn comes from torch's global generator of the host, whose state checkpoints keep; ``step`` counts
        the steps before this one. In evaluation what only helps training is left out.
        """
        return record

    @abstractmethod
    def loss(self, model: Model, batch: Any) -> Loss:
        """The loss of what ``sample`` answered, or of a part of it, with gradients where autograd records them."""


OBJECTIVES: Registry[type[Objective]] = Registry("objective", Objective, __name__)
