"""Every kernel on random questions: equal to the reference or a refusal with a reason."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.kernels import KERNELS, Ask, Kernel, attend
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.window import Window
from danlu.nn.positions.none import NoPosition

MASKS = [Causal(), Causal() & Window(size=3), Causal() | Prefix(length=2), Full(), Window(size=2)]
NONE = NoPosition(Dims(vocab=1, model=8, heads=1, layers=1, context=1))


def ask(mask: Mask, heads: int, kv_heads: int, layout: Layout, extra: int = 0) -> Ask:
    """``extra`` keys before the row's own, visible to every document."""
    generator = torch.Generator().manual_seed(heads * 10 + extra)
    rows, length = layout.position.shape
    q = torch.randn(rows, length, heads, 8, generator=generator, requires_grad=True)
    k, v = (torch.randn(rows, extra + length, kv_heads, 8, generator=generator, requires_grad=True) for _ in range(2))
    if not extra:
        return Ask(q, Keys(k, v, layout.position, layout.segment), layout, mask, NONE)
    before = torch.zeros(rows, extra, dtype=torch.long)
    position = torch.cat([before, layout.position], 1)
    return Ask(q, Keys(k, v, position, torch.cat([before - 1, layout.segment], 1)), layout, mask, NONE)


def layouts() -> dict[str, Layout]:
    segment = torch.tensor([[1, 1, 1, 2, 2, 0], [0, 1, 1, 1, 1, 1]])
    position = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]])
    return {
        "plain": Layout.dense(segment),
        "packed": Layout.of(position, segment),
        "facts unknown": Layout(position, segment),
        "only padding": Layout.of(position * 0, segment * 0),
    }


def serving(name: str, question: Ask) -> Kernel:
    kernel = KERNELS[name]()
    if reason := kernel.refuses(question):
        pytest.skip(reason)
    return kernel


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("layout", list(layouts()))
@pytest.mark.parametrize(("heads", "kv_heads", "extra"), [(4, 4, 0), (4, 2, 0), (4, 1, 2)])
def test_equal_to_the_reference_with_gradients(name, mask, layout, heads, kv_heads, extra) -> None:
    question = ask(mask, heads, kv_heads, layouts()[layout], extra)
    kernel = serving(name, question)
    tensors = [question.q, question.keys.k, question.keys.v]
    found, expected = kernel.run(question), KERNELS["reference"]().run(question)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), tensors) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", list(KERNELS))
def test_a_query_without_keys_answers_zeros_and_no_gradient(name) -> None:
    question = ask(Causal(), 2, 2, layouts()["only padding"])
    found = serving(name, question).run(question)
    assert torch.equal(found, torch.zeros_like(found))
    if found.requires_grad:
        found.sum().backward()
        assert question.q.grad is None or torch.equal(question.q.grad, torch.zeros_like(question.q))


@pytest.mark.parametrize("name", list(KERNELS))
def test_one_new_token_looks_at_all_keys(name) -> None:
    whole = ask(Causal(), 4, 2, Layout.dense(torch.ones(2, 6)))
    last = Layout.dense(torch.ones(2, 1), start=5)
    asked = Ask(whole.q[:, -1:], whole.keys, last, Causal(), NONE)
    expected = KERNELS["reference"]().run(whole)[:, -1:]
    torch.testing.assert_close(serving(name, asked).run(asked), expected, atol=1e-5, rtol=1e-5)


def test_when_all_refuse_every_reason_is_told() -> None:
    class Picky(Kernel):
        def refuses(self, ask: Ask) -> str | None:
            return "today is not the day"

        def run(self, ask: Ask) -> torch.Tensor:
            raise AssertionError("was not asked")

    with pytest.raises(ConfigError, match="Picky: today is not the day; add the kernel 'reference'"):
        attend(ask(Causal(), 2, 2, layouts()["plain"]), [Picky()])
