"""Attention kernels against a loop over queries and keys in Python floats."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_questions import FORMULA

from danlu.nn.dims import Dims
from danlu.nn.kernels import KERNELS, Ask
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.window import Window
from danlu.nn.positions.none import NoPosition

NONE = NoPosition(Dims(vocab=1, model=4, heads=1, layers=1, context=1))
SEGMENT = torch.tensor([[1, 1, 2, 2, 2, 0], [0, 3, 3, 3, 3, 3]])
POSITION = torch.tensor([[0, 1, 0, 1, 2, 0], [0, 0, 1, 2, 3, 4]])


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Mask) -> torch.Tensor:
    rows, length, heads, size = q.shape
    out, group = torch.zeros_like(q), heads // k.shape[2]
    sees = {
        Causal(): lambda i, j: j <= i,
        Full(): lambda i, j: True,
        Causal() & Window(size=2): lambda i, j: i - 1 <= j <= i,
    }[mask]
    for b in range(rows):
        for h in range(heads):
            for i in range(length):
                keys = [
                    j for j in range(length)
                    if SEGMENT[b, i] == SEGMENT[b, j] != 0 and sees(int(POSITION[b, i]), int(POSITION[b, j]))
                ]  # fmt: skip
                scores = [math.exp(sum((q[b, i, h] * k[b, j, h // group]).tolist()) / math.sqrt(size)) for j in keys]
                for j, score in zip(keys, scores, strict=True):
                    out[b, i, h] += score / sum(scores) * v[b, j, h // group]
    return out


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("mask", [Causal(), Full(), Causal() & Window(size=2)], ids=str)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("facts", [True, False])
def test_attention_is_a_weighted_mean_of_allowed_values(name, mask, kv_heads, facts) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 4, 4, generator=generator)
    k, v = (torch.randn(2, 6, kv_heads, 4, generator=generator) for _ in range(2))
    layout = Layout.of(POSITION, SEGMENT) if facts else Layout(POSITION, SEGMENT)
    assert (layout.spans is not None) == facts
    ask = Ask(q, Keys(k, v, POSITION, SEGMENT), layout, mask, NONE)
    kernel = KERNELS[name]()
    if reason := kernel.refuses(ask):
        pytest.skip(reason)
    torch.testing.assert_close(kernel.run(ask), by_hand(q, k, v, mask), atol=1e-5, rtol=1e-5)


def test_blind_queries_answer_zeros_where_the_device_does_not_promise_it(monkeypatch) -> None:
    from danlu.nn.kernels import sdpa

    monkeypatch.setattr(sdpa, "ZERO_IF_BLIND", frozenset())
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 4, 4, generator=generator, requires_grad=True)
    k, v = (torch.randn(2, 6, 2, 4, generator=generator) for _ in range(2))
    found = sdpa.Sdpa().run(Ask(q, Keys(k, v, POSITION, SEGMENT), Layout(POSITION, SEGMENT), Causal(), NONE))
    torch.testing.assert_close(found, by_hand(q.detach(), k, v, Causal()), atol=1e-5, rtol=1e-5)
    found.sum().backward()
    assert q.grad is not None
    assert torch.equal(q.grad[SEGMENT == 0], torch.zeros(2, 4, 4))


@pytest.mark.parametrize("name", list(KERNELS))
def test_equal_scores_give_the_mean(name) -> None:
    q = torch.zeros(1, 3, 1, 4)
    v = torch.tensor([[1.0], [4.0], [10.0]]).expand(3, 4)[None, :, None]
    layout = Layout.dense(torch.ones(1, 3))
    ask = Ask(q, Keys(q, v, layout.position, layout.segment), layout, Causal(), NONE)
    if reason := KERNELS[name]().refuses(ask):
        pytest.skip(reason)
    torch.testing.assert_close(KERNELS[name]().run(ask)[0, :, 0, 0], torch.tensor([1.0, 2.5, 5.0]))


def test_packed_rows_cost_no_attention_across_documents() -> None:
    """Of a row of 64 documents, 1/64 of the scores are computed: torch's counter of operations says so."""
    from torch.utils.flop_counter import FlopCounterMode

    document = torch.arange(64).repeat_interleave(16)[None] + 1
    position = torch.arange(16).repeat(64)[None]
    x = torch.randn(1, 1024, 2, 8)
    counts = []
    for layout in (Layout.of(position, document), Layout(position, document)):
        with FlopCounterMode(display=False, custom_mapping=FORMULA) as counter:
            KERNELS["sdpa"]().run(Ask(x, Keys(x, x, position, document), layout, Causal(), NONE))
        counts.append(counter.get_total_flops())
    assert counts == [4 * 2 * 1024 * 16 * 8, 4 * 2 * 1024 * 1024 * 8]
