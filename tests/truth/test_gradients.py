"""One pass from sums to the clipped mean, against torch's own clipping of the mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.train import gradients


@pytest.mark.parametrize("clip", [None, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("divisor", [1.0, 37.5])
def test_torch_agrees(clip: float | None, divisor: float) -> None:
    rng = torch.Generator().manual_seed(0)
    sums = [torch.randn(shape, generator=rng) * 40 for shape in ((3, 4), (7,), (2, 2, 2))]
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in sums]
    for p, g in zip(parameters, sums, strict=True):
        p.grad = g / divisor
    expected_norm = nn.utils.clip_grad_norm_(parameters, clip or float("inf"))
    mine = [g.clone() for g in sums]
    norm = float(gradients.norm(mine)) / divisor
    gradients.settle(mine, divisor, norm, clip)
    assert norm == pytest.approx(float(expected_norm), rel=1e-5)
    for found, p in zip(mine, parameters, strict=True):
        torch.testing.assert_close(found, p.grad, rtol=1e-5, atol=1e-7)


def test_no_gradient_has_norm_zero() -> None:
    assert gradients.norm([]).item() == 0
