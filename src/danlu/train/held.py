"""What a training run holds between steps and where: weights, the optimizer's states, and what rests at the host."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, unknown
from ..nn.model import Model
from ..nn.remade import lodged
from ..objectives import Objective
from .host import host_of
from .offload import Away, Weights
from .optims import Optim
from .precisions import Precision
from .stepping import Care, Masters, Paged, Stepping, Stochastic

KINDS = ("activations", "optimizer", "parameters")


def trained(model: nn.Module, objective: Objective) -> list[tuple[str, nn.Parameter]]:
    """Every parameter that may be trained, by name: the model's, then those of the objective's companions."""
    companions = objective.companions.named_parameters(prefix="companions")
    return [(n, p) for n, p in (*model.named_parameters(), *companions) if p.requires_grad]


class Held:
    """Model and objective on their device, ``stepping`` over what trains, and what ``offload`` names at the host.

    ``folder`` is where a CPU's host keeps its files.
    Raises: ConfigError for what cannot be offloaded.
    """

    def __init__(
        self, model: Model, objective: Objective, optim: Optim, precision: Precision, device: str,
        offload: Collection[str] = (), folder: Path | None = None,
    ) -> None:  # fmt: skip
        if odd := [kind for kind in offload if kind not in KINDS]:
            raise unknown("part of training", odd[0], list(KINDS), where="train.offload")
        host = host_of(device, folder) if offload or optim.pages else None
        self.weights = Weights(model, host) if host and "parameters" in offload else None
        self.model = self.weights.to(model, device) if self.weights else model.to(device)
        self.objective = objective.to(device)
        self.away = Away(host, nn.ModuleList([model, objective])) if host and "activations" in offload else None
        named = trained(self.model, self.objective)
        self.narrow = [p for _, p in named if p.dtype is not torch.float32]
        self._check(precision)
        optimizer = optim.over(named)
        masters = Masters(self.narrow) if self.narrow and precision.masters else None
        states = [optimizer.state, *([masters.states] if masters else [])]
        self.paged = Paged(host, *states) if host and (optim.pages or "optimizer" in offload) else None
        widened: Care | None = masters or (Stochastic() if self.narrow else None)
        cares: list[Care] = [care for care in (self.paged, widened) if care]
        self.stepping = Stepping(optimizer, cares, *states[1:])

    def _check(self, precision: Precision) -> None:
        odd = sorted({str(p.dtype).removeprefix("torch.") for p in self.narrow if p.dtype is not precision.weights})
        if odd:
            raise ConfigError(
                f"weights that train are {odd[0]}, but the precision keeps them in "
                f"{str(precision.weights).removeprefix('torch.')}; load the model in that dtype"
            )

    def begin(self, parts: int) -> None:
        """A step of so many micro-batches begins: more than one are summed in float32, whatever the weights are."""
        for parameter in self.narrow:
            parameter.grad_dtype = torch.float32 if parts > 1 else parameter.dtype

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Within, a forward pass, whose activations go where they are to be."""
        if self.away is None:
            yield
            return
        with lodged(self.away):
            yield
        self.away.forget()

    def leave(self) -> None:
        """A backward pass is through."""
        if self.weights:
            self.weights.leave()

    def resting(self, tensor: Tensor) -> bool:
        """Whether a weight or a state rests at the host."""
        return any(part.holds(tensor) for part in (self.weights, self.paged) if part)
