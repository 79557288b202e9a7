"""Adam with decoupled weight decay whose running means rest outside of the device's memory."""

from __future__ import annotations

from torch.optim import Optimizer

from ...core.errors import ConfigError
from . import OPTIMS, Named, Optim
from .adamw import AdamW
from .adamw8bit import AdamW8bit

KINDS = {32: AdamW, 8: AdamW8bit}


@OPTIMS.add("paged_adamw")
class PagedAdamW(Optim):
    """Steps as adamw does, or with ``bits: 8`` as adamw8bit; states rest at the host and come parameter by parameter.

    On CUDA they rest in pinned memory of the host, and the next parameter's states come while this one moves. On a
    CPU they rest in files mapped into memory and are dropped from resident memory after each parameter.
    ``train.offload: [optimizer]`` does the same for any optimizer.

    State: 8 bytes a parameter at the host (2.03 with 8 bits); on the device those of two parameters at a time.
    Raises: ConfigError if a setting lies outside its range.
    Source: Dettmers et al. 2023, arXiv:2305.14314, §3, "paged optimizers" (there by unified memory).
    Truth:  tests/truth/test_stepping.py (the bits of the optimizer that stays; what stays resident).
    """

    pages = True

    def __init__(
        self,
        *,
        lr: float = 3e-4,
        betas: list[float] | tuple[float, ...] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        bits: int = 32,
    ) -> None:
        if bits not in KINDS:
            raise ConfigError(f"optim paged_adamw: bits are {' or '.join(map(str, KINDS))}, found {bits}")
        self.kind = KINDS[bits](lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.lr = self.kind.lr

    def over(self, parameters: Named) -> Optimizer:
        return self.kind.over(parameters)
