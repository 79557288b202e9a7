"""The optimizer's step inside of backward: no gradient is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..peft import Tending
from . import gradients

if TYPE_CHECKING:
    from .trainer import Trainer


def check(trainer: Trainer) -> None:
    """Raises ConfigError where something needs all gradients at once."""
    if trainer.clip is not None:
        raise ConfigError(
            "train.fused_step frees each gradient before the next is there, so their norm comes too late to clip by; "
            "set train.clip: null, or strike fused_step"
        )
    if trainer.precision.scale is not None:
        raise ConfigError(
            "train.fused_step cannot take back a step whose gradients overflow under a loss scale; use bf16 or fp32"
        )
    if type(trainer.tending).graded is not Tending.graded:
        raise ConfigError("train.fused_step frees gradients that this adapter reads after backward; strike fused_step")


def backward(trainer: Trainer) -> dict[str, Tensor]:
    """Sums of the loss, after a backward pass in which each weight moved as soon as its gradient was whole.

    The weight of the sum is known after the forward pass of the only micro-batch, so gradients are divided as they
    come: the bits are those of an ordinary step without clipping. A loss that is not finite moves nothing; a gradient
    that is not, of a finite loss, is known only when weights have moved.

    Source: Lv et al. 2023, arXiv:2306.09782, §3.1 (LOMO); here for any optimizer.
    Truth:  tests/truth/test_stepping.py (the weights and states of ordinary steps, in bits).
    """
    if (cuts := trainer.cuts(trainer.batches)) != 1:
        raise ConfigError(
            f"train.fused_step needs a step in one micro-batch, found {cuts}; set train.micro to train.tokens, "
            "without a ramp"
        )
    (part,) = trainer.parts(trainer.batches)
    trainer.held.begin(1)
    loss = trainer.loss(part)
    total, weight = trainer.read(torch.stack([loss.total.detach(), loss.weight]))
    norms: list[Tensor] = []
    if weight and math.isfinite(total) and loss.total.requires_grad:
        norms = trainer.held.stepping.backward(loss.total, lambda grad: gradients.settle([grad], weight, 0.0, None))
    trainer.held.leave()
    return {**loss.metrics, "total": loss.total.detach(), "weight": loss.weight, "norm": gradients.joined(norms)}
