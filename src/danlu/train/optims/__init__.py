"""What turns gradients into steps: torch's optimizers over groups of parameters named by what they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from ...core.registry import Registry

Named = Iterable[tuple[str, nn.Parameter]]


class Optim(ABC):
    """A rule for steps; ``lr`` is the peak that the schedule multiplies."""

    lr: float
    pages: bool = False
    """Whether states rest at the host between steps."""

    @abstractmethod
    def over(self, parameters: Named) -> Optimizer:
        """torch's optimizer over these parameters; its state is keyed by their order.

        State is kept in float32 or narrower, whatever the dtype of the parameter, which is float32 whenever it moves.
        """


def groups(parameters: Named, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and embeddings decay; norms, biases and other vectors do not. Frozen parameters are left out."""
    trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    matrices = [p for name, p in trained if p.ndim >= 2 and not name.endswith("bias")]  # those of experts are stacked
    vectors = [p for name, p in trained if p.ndim < 2 or name.endswith("bias")]
    decays = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": params, "weight_decay": decay} for params, decay in decays if params]


def fusable(parameters: Named) -> bool:
    """Whether torch's fused kernels take all of them: floating point, on a device that has such kernels."""
    return all(
        p.is_floating_point() and p.device.type in ("cpu", "cuda") and p.dtype is not torch.float16
        for _, p in parameters
    )


OPTIMS: Registry[type[Optim]] = Registry("optimizer", Optim, __name__)
