"""Adam with decoupled weight decay."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import ConfigError
from . import OPTIMS, Named, Optim, fusable, groups


@OPTIMS.add("adamw")
class AdamW(Optim):
    """Steps by the running mean of gradients over the root of the running mean of their squares; weights decay apart.

    m = β₁m + (1-β₁)g,  v = β₂v + (1-β₂)g²,  w ← w·(1 - lr·λ) - lr · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε).
    λ = ``weight_decay`` acts on matrices and embeddings, not on norms, biases and other vectors.

    State: 8 bytes a parameter. Runs fused where torch can.
    Raises: ConfigError if a setting lies outside its range.
    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
    Truth:  tests/truth/test_optims.py (the formula above in numpy; which parameters decay).
    """

    def __init__(
        self,
        *,
        lr: float = 3e-4,
        betas: list[float] | tuple[float, ...] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        self.lr, self.eps, self.weight_decay = float(lr), float(eps), float(weight_decay)
        if len(betas) != 2 or not all(0 <= float(beta) < 1 for beta in betas):
            raise ConfigError(f"optim adamw: betas are two numbers in [0, 1), found {betas}")
        if min(self.lr, self.eps, self.weight_decay) < 0:
            raise ConfigError("optim adamw: lr, eps and weight_decay must not be negative")
        self.betas = (float(betas[0]), float(betas[1]))

    def over(self, parameters: Named) -> torch.optim.AdamW:
        parameters = list(parameters)
        fused = fusable(parameters)
        optimizer = torch.optim.AdamW(
            groups(parameters, self.weight_decay),
            self.lr,
            self.betas,
            self.eps,
            fused=fused,
            foreach=None if fused else True,
        )
        for group in optimizer.param_groups:
            optimizer.state.update({parameter: _fresh(parameter) for parameter in group["params"]})
        return optimizer


def _fresh(parameter: Tensor) -> dict[str, Tensor]:
    """What torch would make at the first step, when it would lie among activations for ever and scatter the heap."""
    means = {name: torch.zeros_like(parameter, dtype=torch.float32) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), dtype=torch.float32, device=parameter.device), **means}
