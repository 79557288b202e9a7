"""Heads and poolers against their formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.heads import HEADS
from danlu.nn.poolers import POOLERS

DIMS = Dims(vocab=11, model=6, heads=2, layers=1, context=8)


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return module.double()


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("narrow", [4, 6])
def test_transform_head(tanh: bool, narrow: int) -> None:
    head = drawn(HEADS["transform"](DIMS, narrow, tanh=tanh))
    x = torch.randn(3, 6, dtype=torch.float64)
    inner = x @ head.inner.weight.T + head.inner.bias
    phi = (
        (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3))) / 2
        if tanh
        else (1 + torch.erf(inner / math.sqrt(2))) / 2
    )
    active = inner * phi
    centered = active - active.mean(-1, keepdim=True)
    normed = centered / (centered.square().mean(-1, keepdim=True) + 1e-12).sqrt() * head.norm.weight + head.norm.bias
    torch.testing.assert_close(head(x), normed @ head.table.weight.T + head.table.bias)


def test_linear_head_refuses_narrow_token_vectors() -> None:
    with pytest.raises(ConfigError, match="use the head 'transform'"):
        HEADS["linear"](DIMS, 4)


HIDDEN = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SEGMENT = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
"""Padding after the one document, and before the other."""


def test_pooled_is_a_layer_over_the_first_token() -> None:
    pooler = drawn(POOLERS["first"](DIMS))
    first = torch.stack([HIDDEN[0, 0], HIDDEN[1, 2]])
    torch.testing.assert_close(pooler(HIDDEN, SEGMENT), torch.tanh(first @ pooler.dense.weight.T + pooler.dense.bias))
    whole = torch.ones(2, 5, dtype=torch.long)
    torch.testing.assert_close(
        pooler(HIDDEN, whole), torch.tanh(HIDDEN[:, 0] @ pooler.dense.weight.T + pooler.dense.bias)
    )


def test_cls_is_the_first_token_itself() -> None:
    pooler = POOLERS["cls"](DIMS)
    assert not list(pooler.parameters())
    assert torch.equal(pooler(HIDDEN, SEGMENT), torch.stack([HIDDEN[0, 0], HIDDEN[1, 2]]))
