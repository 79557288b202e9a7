"""Chunked cross-entropy against torch's own on whole logits: value, every gradient, and what is held in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.objectives.chunked import cross_entropy, leaves

N, M, V = 37, 12, 29


class SoftCapped(nn.Module):
    """A head that is not linear, and keeps its output for backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.cap = nn.Linear(M, V), nn.Parameter(torch.tensor(3.0))

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.inner(hidden) / self.cap) * self.cap


HEADS = {"linear": lambda: nn.Linear(M, V, bias=False), "biased": lambda: nn.Linear(M, V), "capped": SoftCapped}


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, M, generator=rng)
    return hidden, torch.randint(0, V, (N,), generator=rng), torch.rand(N, generator=rng) * 3


def whole(head: nn.Module, hidden: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    return (F.cross_entropy(head(hidden).float(), targets, reduction="none") * weight).sum()


@pytest.mark.parametrize("chunk", [1, 8, 37, 1000])
@pytest.mark.parametrize("name", HEADS)
def test_value_and_gradients_are_those_of_whole_logits(name: str, chunk: int) -> None:
    torch.manual_seed(1)
    head = HEADS[name]()
    hidden, targets, weight = drawn()
    found, expected = [], []
    for loss_of, out in (
        (lambda h: cross_entropy(head, h, targets, weight, chunk), found),
        (lambda h: whole(head, h, targets, weight), expected),
    ):
        h = hidden.clone().requires_grad_()
        loss = loss_of(h)
        grads = torch.autograd.grad(loss * 0.37, [h, *head.parameters()])
        out.extend([loss, *grads])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5)


def test_a_tied_head_and_embedding_sum_their_gradients() -> None:
    torch.manual_seed(2)
    _, targets, weight = drawn()
    tokens = targets.flip(0)
    grads = []
    for chunked in (True, False):
        table = nn.Embedding(V, M)
        torch.manual_seed(3)
        nn.init.normal_(table.weight)
        head = lambda h, table=table: h @ table.weight.t()  # noqa: E731
        hidden = torch.tanh(table(tokens))
        loss = cross_entropy(head, hidden, targets, weight, 5) if chunked else whole(head, hidden, targets, weight)  # type: ignore[arg-type]
        loss.backward()
        grads.append(table.weight.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)


def test_the_closed_form_of_a_uniform_head() -> None:
    """Zero weights: every token costs ln V, and the gradient of the bias is Σ w (1/V - onehot)."""
    head = nn.Linear(M, V)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    hidden, targets, weight = drawn()
    loss = cross_entropy(head, hidden, targets, weight, 10)
    loss.backward()
    assert loss.item() == pytest.approx(weight.sum().item() * torch.tensor(float(V)).log().item(), rel=1e-6)
    expected = weight.sum() / V - torch.zeros(V).index_add(0, targets, weight)
    torch.testing.assert_close(head.bias.grad, expected, rtol=1e-5, atol=1e-5)


def test_frozen_heads_get_no_gradient_but_pass_it_on() -> None:
    head = nn.Linear(M, V).requires_grad_(False)
    hidden, targets, weight = drawn()
    hidden.requires_grad_()
    cross_entropy(head, hidden, targets, weight, 10).backward()
    mine, hidden.grad = hidden.grad, None
    whole(head, hidden, targets, weight).backward()
    torch.testing.assert_close(mine, hidden.grad, rtol=1e-5, atol=1e-6)
    assert head.weight.grad is None


def test_without_gradients_and_without_tokens() -> None:
    head = nn.Linear(M, V)
    hidden, targets, weight = drawn()
    with torch.no_grad():
        loss = cross_entropy(head, hidden, targets, weight, 10)
    torch.testing.assert_close(loss, whole(head, hidden, targets, weight), rtol=1e-6, atol=1e-5)
    assert cross_entropy(head, hidden[:0], targets[:0], weight[:0], 10).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_autocast_gives_what_whole_logits_give_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    head = nn.Linear(M, V)
    hidden, targets, weight = drawn()
    grads = []
    for loss_of in (lambda h: cross_entropy(head, h, targets, weight, 1000), lambda h: whole(head, h, targets, weight)):
        h = hidden.clone().requires_grad_()
        with torch.autocast("cpu", dtype):
            loss = loss_of(h)
        grads.append(torch.autograd.grad(loss * 8.0, [h, *head.parameters()]))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)
        assert a.dtype is torch.float32


def test_fp16_gradients_carry_the_loss_scale() -> None:
    """A slope of 2⁻²⁷ is lost in fp16 unless the scale reaches it before the product of the head."""
    head = nn.Linear(1, 2, bias=False)
    hidden, targets = torch.ones(1, 1), torch.tensor([0])
    head.weight.data = torch.tensor([[18.7], [0.0]])  # 1 - p = e^-18.7 = 2^-27
    h = hidden.clone().requires_grad_()
    with torch.autocast("cpu", torch.float16):
        loss = cross_entropy(head, h, targets, torch.ones(1), 8)
    (loss * 65536.0).backward()
    assert head.weight.grad is not None
    assert head.weight.grad[1].item() / 65536.0 == pytest.approx(2.0**-27, rel=0.2)


def test_a_second_backward_is_refused() -> None:
    head = nn.Linear(M, V)
    hidden, targets, weight = drawn()
    loss = cross_entropy(head, hidden, targets, weight, 10)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated before"):
        loss.backward()


def test_leaves_are_found_once_each_in_a_fixed_order() -> None:
    head = SoftCapped()
    orders = [[id(leaf) for leaf in leaves(head(torch.randn(2, M)))] for _ in range(3)]
    assert orders[0] == orders[1] == orders[2]
    assert set(orders[0]) == {id(p) for p in head.parameters()}


def test_logits_of_one_chunk_live_at_once() -> None:
    """Peak memory of forward and backward stays near the chunk's, where whole logits need N · V · 4 bytes three times."""
    from danlu.plan import allocating

    rows, vocab, chunk = 4096, 2000, 128
    head, hidden = nn.Linear(8, vocab, bias=False), torch.randn(rows, 8)
    targets, weight = torch.randint(0, vocab, (rows,)), torch.ones(rows)
    peaks = []
    for loss_of in (
        lambda h: cross_entropy(head, h, targets, weight, chunk),
        lambda h: whole(head, h, targets, weight),
    ):
        with allocating() as peak:
            loss_of(hidden.clone().requires_grad_()).backward()
        head.weight.grad = None
        peaks.append(peak.bytes_)
    logits = rows * vocab * 4
    assert peaks[1] > 1.9 * logits
    assert peaks[0] < 4 * chunk * vocab * 4 + 1e6 < 0.2 * logits
