"""Plain gradient descent."""

from __future__ import annotations

import torch

from ...core.errors import ConfigError
from . import OPTIMS, Named, Optim, fusable, groups


@OPTIMS.add("sgd")
class Sgd(Optim):
    """Steps against the gradient, with momentum if asked; unlike Adam it hides no fault in a gradient's scale.

    u = μu + g,  w ← w - lr · (u + λw folded into g).

    State: 4 bytes a parameter with momentum, none without.
    Raises: ConfigError if a setting lies outside its range.
    Source: Robbins & Monro 1951, "A stochastic approximation method"; momentum: Sutskever et al. 2013, eq. 1–2.
    Truth:  tests/truth/test_optims.py (three steps worked by hand).
    """

    def __init__(self, *, lr: float = 0.1, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.lr, self.momentum, self.weight_decay = float(lr), float(momentum), float(weight_decay)
        if min(self.lr, self.weight_decay) < 0 or not 0 <= self.momentum < 1:
            raise ConfigError("optim sgd: lr and weight_decay must not be negative, momentum must lie in [0, 1)")

    def over(self, parameters: Named) -> torch.optim.SGD:
        parameters = list(parameters)
        fused = fusable(parameters)
        return torch.optim.SGD(
            groups(parameters, self.weight_decay), self.lr, self.momentum, fused=fused, foreach=None if fused else True
        )
