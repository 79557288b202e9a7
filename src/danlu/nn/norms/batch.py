"""Batch normalization: each channel by its mean and variance over all tokens; built to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.errors import ConfigError
from ..linear import Birth
from . import NORMS, Norm


@NORMS.add("batch")
class BatchNorm(Norm):
    """Centers each channel and brings it to unit variance over all vectors of a batch, then scales and shifts it.

    y = (x - mean_c) / sqrt(var_c + eps) · w + b,  over all axes but the last; the variance is the biased one.
    In training the statistics are those of the batch and running ones follow, r ← r + momentum (batch - r), with the
    unbiased variance; in evaluation the running ones serve. They are saved with the weights.
    Limits, which are why language models do not use it: padding counts as tokens do; in training a token is
    normalized with those after it, so a causal loss leaks and differs from what generation sees; statistics are those
    of a micro-batch, so the loss depends on how a batch was cut; ranks do not share them.
    Raises: ConfigError if ``momentum`` is not within (0, 1].
    Source: Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 1; Shen et al. 2020, arXiv:2003.07845, §3 (over tokens).
    Truth:  tests/truth/test_norm_formulas.py (torch's batch norm in both modes; running statistics by hand).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(size)
        if not 0 < momentum <= 1:
            raise ConfigError(f"norm batch: momentum must lie in (0, 1], found {momentum}")
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance = self._of_batch(wide) if self.training else (self.mean, self.variance)
        return ((wide - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(x.dtype)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, -2)
        variance, mean = torch.var_mean(flat, 0, correction=0)
        if not _backward():
            with torch.no_grad():
                count = len(flat)
                self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
                unbiased = (variance * (count / max(1, count - 1))).to(self.variance.dtype)
                self.variance.lerp_(unbiased, self.momentum)
        return mean, variance

    def born(self, birth: Birth) -> None:
        super().born(birth)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.mean)
        nn.init.ones_(self.variance)


def _backward() -> bool:
    """Whether backward makes this again: a batch is counted once."""
    return torch._C._current_graph_task_id() != -1
