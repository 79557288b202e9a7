"""Cross-attention against its formula in float64, and against what it may not see."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from danlu.nn.attention import CrossAttention
from danlu.nn.dims import Dims
from danlu.nn.kernels import KERNELS
from danlu.nn.layout import Layout, Memory

DIMS = Dims(vocab=5, model=8, heads=4, kv_heads=2, layers=1, context=16, head=3)


def made(kernel: str = "sdpa", **settings) -> CrossAttention:
    generator = torch.Generator().manual_seed(0)
    layer = CrossAttention(DIMS, 0, [KERNELS[kernel](), KERNELS["reference"]()], **settings).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return layer


def formula(layer: CrossAttention, x: torch.Tensor, memory: torch.Tensor, scale: float) -> torch.Tensor:
    """One row, head by head, query by query.  x: (T, M), memory: (S, M)."""
    q = [layer.q.weight[3 * h : 3 * h + 3] @ x.T for h in range(4)]  # (D, T)
    k = [layer.k.weight[3 * h : 3 * h + 3] @ memory.T for h in range(2)]  # (D, S)
    v = [layer.v.weight[3 * h : 3 * h + 3] @ memory.T for h in range(2)]
    rows = []
    for t in range(len(x)):
        heads = []
        for h in range(4):
            scores = [scale * float(q[h][:, t] @ k[h // 2][:, s]) for s in range(len(memory))]
            total = sum(map(math.exp, scores))
            heads += [sum(math.exp(score) / total * v[h // 2][:, s] for s, score in enumerate(scores))]
        rows.append(layer.o.weight @ torch.cat(heads))
    return torch.stack(rows)


def looking(x: torch.Tensor, memory: torch.Tensor, segment: torch.Tensor | None = None) -> Layout:
    where = Layout.dense(memory[..., 0])
    kept = Memory(memory, where.position, where.segment if segment is None else segment, plain=segment is None)
    return replace(Layout.dense(x[..., 0]), memory=kept)


@pytest.mark.parametrize("kernel", ["sdpa", "reference"])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_the_formula(kernel, scale) -> None:
    """The target may be longer than the source, and no query is nearer to one key than to another."""
    generator = torch.Generator().manual_seed(1)
    layer, x, memory = made(kernel, scale=scale), *(torch.randn(2, n, 8, generator=generator).double() for n in (6, 4))
    with torch.no_grad():
        found = layer(x, looking(x, memory))
        for row in range(2):
            expected = formula(layer, x[row], memory[row], scale or 3**-0.5)
            torch.testing.assert_close(found[row], expected, atol=1e-6 if kernel == "reference" else 1e-12, rtol=1e-6)
        again = layer(x, looking(x, memory.flip(1)))  # a memory is a set: its order is the encoder's business
    torch.testing.assert_close(again, found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kernel", ["sdpa", "reference"])
def test_padding_and_other_documents_are_never_seen(kernel) -> None:
    generator = torch.Generator().manual_seed(2)
    layer, x, memory = made(kernel), *(torch.randn(1, n, 8, generator=generator).double() for n in (3, 5))
    segment = torch.tensor([[1, 1, 2, 0, 0]])
    with torch.no_grad():
        found = layer(x, looking(x, memory, segment))
        expected = layer(x, looking(x, memory[:, :2]))
        blind = layer(x, looking(x, memory, segment * 2))  # documents 2 and 4, while the target is document 1
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not blind.any()


def test_gradients_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    layer, x, memory = made(), *(torch.randn(1, n, 8, generator=generator).double() for n in (2, 3))
    inputs = (x.requires_grad_(), memory.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: layer(a, looking(a, b)), inputs, atol=1e-6)
