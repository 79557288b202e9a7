"""Adam with decoupled weight decay whose running means are kept in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import OPTIMS, Named, Optim, groups
from .adamw import AdamW
from .codes import AT_ONCE, BLOCK, Code, code

SMALLEST = 4096
"""Tensors with fewer numbers keep them in 32 bits: they are few bytes, and biases and norms are the sensitive ones."""


@OPTIMS.add("adamw8bit")
class AdamW8bit(Optim):
    """Steps as adamw does, but keeps both running means as 8-bit codes with one scale a block of 256 numbers.

    m, v = read(codes);  the step of adamw with them;  codes = write(m, v): value ≈ table[code] · max |block|,
    the table dense near zero (``quant.dynamic``), signed for m and unsigned for v. The weights move by m and v before
    they are rounded. Tensors of fewer than 4096 numbers keep 32 bits.

    State: 2.03 bytes a parameter.
    Raises: ConfigError if a setting lies outside its range.
    Source: Dettmers et al. 2021, arXiv:2110.02861, §2; the step: Loshchilov & Hutter 2019, arXiv:1711.05101.
    Truth:  tests/truth/test_adamw8bit.py (its formula in numpy and float64), tests/parity/test_adamw8bit.py
            (bitsandbytes' AdamW8bit: states and weights).
    """

    def __init__(
        self,
        *,
        lr: float = 3e-4,
        betas: list[float] | tuple[float, ...] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        self.checked = AdamW(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.lr = self.checked.lr

    def over(self, parameters: Named) -> Optimizer:
        said = self.checked
        return _Blockwise(groups(parameters, said.weight_decay), said.lr, said.betas, said.eps)


class _Blockwise(Optimizer):
    """State a parameter: ``step``; ``exp_avg`` and ``exp_avg_sq``, codes or numbers; of codes, ``…_largest`` too."""

    def __init__(self, parameters: list[dict[str, object]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})
        each = [parameter for group in self.param_groups for parameter in group["params"]]
        self.codes = {
            device: {"exp_avg": code(signed=True).on(device), "exp_avg_sq": code(signed=False).on(device)}
            for device in {parameter.device for parameter in each}
        }
        self.state.update({parameter: _fresh(parameter, self.codes[parameter.device]) for parameter in each})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    state["step"] += 1
                    _move(parameter, state, self.codes[parameter.device], group)


Codes = dict[str, Code]
"""By the name of the mean that is written in it."""


def _fresh(parameter: nn.Parameter, codes: Codes) -> dict[str, Tensor]:
    here, numel = parameter.device, parameter.numel()
    state = {"step": torch.zeros((), device=here)}
    for name, table in codes.items():
        if numel < SMALLEST:
            state[name] = torch.zeros(numel, device=here)
        else:
            state[name] = table.write(torch.zeros(1, device=here))[0].expand(numel).clone()
            state[f"{name}_largest"] = torch.zeros(-(-numel // BLOCK), device=here)
    return state


def _move(parameter: Tensor, state: dict[str, Tensor], codes: Codes, group: dict[str, Any]) -> None:
    """A stretch of whole blocks at a time."""
    assert parameter.grad is not None
    weights, slope = parameter.view(-1), parameter.grad.reshape(-1)
    for begin in range(0, len(weights), AT_ONCE):
        here, blocks = slice(begin, begin + AT_ONCE), slice(begin // BLOCK, (begin + AT_ONCE) // BLOCK)
        m, v = (_read(state, name, table, here, blocks) for name, table in codes.items())
        _adam(weights[here], slope[here].float(), m, v, state["step"], group)
        for (name, table), mean in zip(codes.items(), (m, v), strict=True):
            _write(state, name, table, here, blocks, mean)


def _read(state: dict[str, Tensor], name: str, table: Code, here: slice, blocks: slice) -> Tensor:
    held = state[name][here]
    return held if held.is_floating_point() else table.read(held, state[f"{name}_largest"][blocks])


def _write(state: dict[str, Tensor], name: str, table: Code, here: slice, blocks: slice, mean: Tensor) -> None:
    if not state[name].is_floating_point():
        state[name][here], state[f"{name}_largest"][blocks] = table.write(mean)


def _adam(weights: Tensor, slope: Tensor, m: Tensor, v: Tensor, step: Tensor, group: dict[str, Any]) -> None:
    """The step of adamw, in place."""
    (fall, fall_sq), lr = group["betas"], group["lr"]
    m.lerp_(slope, 1 - fall)
    v.mul_(fall_sq).addcmul_(slope, slope, value=1 - fall_sq)
    lengths = v.div(1 - fall_sq**step).sqrt_().add_(group["eps"])
    weights.mul_(1 - lr * group["weight_decay"])
    weights.addcdiv_(m.div(1 - fall**step), lengths, value=-lr)
