"""Flex attention: compiled on the CPU against the reference, and every refusal."""

from __future__ import annotations

import shutil

import pytest
import torch
from kernel_questions import question

from danlu.nn.kernels import KERNELS, Ask, Kernel, attend
from danlu.nn.kernels.flex import Flex
from danlu.nn.layout import Keys

CPU = Flex(devices=["cpu"])
compiles = pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for the CPU with g++")
# torch's compiler uses what torch deprecates
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def single(name: str, device: str = "cpu") -> Ask:
    """A question in float32, without gradients, on a device."""
    ask = question(name)
    move = lambda x: x.detach().float().to(device)  # noqa: E731
    keys = Keys(move(ask.keys.k), move(ask.keys.v), ask.keys.position.to(device), ask.keys.segment.to(device))
    layout = type(ask.layout)(ask.layout.position.to(device), ask.layout.segment.to(device), plain=ask.layout.plain)
    return ask._replace(q=move(ask.q), keys=keys, layout=layout, position=ask.position.float().to(device))


@pytest.mark.slow
@compiles
@quiet
@pytest.mark.parametrize(
    "name",
    ["packed window grouped", "unknown prefix single fixed"],
)
def test_compiled_on_the_cpu_it_equals_the_reference(name) -> None:
    torch._dynamo.reset()
    with torch.no_grad():
        ask = single(name)
        assert CPU.refuses(ask) is None
        torch.testing.assert_close(CPU.run(ask), KERNELS["reference"]().run(ask), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@compiles
@quiet
def test_blocks_that_cannot_meet_are_skipped_and_nothing_is_missing() -> None:
    """Three blocks of 128: a window of 40 leaves five of nine."""
    from danlu.nn.kernels.flex import _blocks
    from danlu.nn.layout import Layout
    from danlu.nn.masks.causal import Causal
    from danlu.nn.masks.window import Window

    torch._dynamo.reset()
    q, k, v = (torch.randn(1, 300, 2, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    layout = Layout.dense(torch.ones(1, 300))
    keys = Keys(k, v, layout.position, layout.segment)
    ask = Ask(q, keys, layout, Causal() & Window(size=40), question("plain full").position)
    assert _blocks(ask).kv_num_blocks.tolist() == [[[1, 2, 2]]]
    with torch.no_grad():
        torch.testing.assert_close(CPU.run(ask), KERNELS["reference"]().run(ask), atol=1e-5, rtol=1e-5)


REFUSALS: list[tuple[Kernel, str, str]] = [
    (Flex(), "plain causal", "it is compiled for cuda, and these tensors lie on cpu"),
    (Flex(devices=[]), "plain causal", "it is compiled for no device"),
    (CPU, "cached causal", "queries and keys differ in number"),
]


@pytest.mark.parametrize(("kernel", "name", "reason"), REFUSALS, ids=[reason for _, _, reason in REFUSALS])
def test_where_it_cannot_serve_it_says_why(kernel, name, reason) -> None:
    assert reason in str(kernel.refuses(single(name)))


def test_gradients_and_digits_it_does_not_have() -> None:
    double = question("plain causal")
    assert "it takes queries, keys and values of one of" in str(CPU.refuses(double))
    ask = single("plain causal")
    assert CPU.refuses(ask) is None
    assert CPU.refuses(ask._replace(q=ask.q.requires_grad_())) == "torch's flex attention has no backward on the CPU"
    learned = single("plain causal learned")
    assert "no gradient" in str(CPU.refuses(learned))
    with torch.no_grad():
        assert CPU.refuses(learned) is None
        assert CPU.refuses(ask) is None


def test_the_next_kernel_serves_what_it_refuses() -> None:
    ask = single("plain causal")
    assert torch.equal(attend(ask, [Flex(), KERNELS["reference"]()]), KERNELS["reference"]().run(ask))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@quiet
@pytest.mark.parametrize("name", ["plain causal grouped", "packed window grouped", "unknown prefix single fixed"])
def test_on_cuda_it_equals_the_reference_with_gradients(name) -> None:
    torch._dynamo.reset()
    ask = single(name, "cuda")
    wide = [torch.cat([x, x], -1).requires_grad_() for x in (ask.q, ask.keys.k, ask.keys.v)]  # heads of 16
    keys = Keys(wide[1], wide[2], ask.keys.position, ask.keys.segment)
    ask = ask._replace(q=wide[0], keys=keys)
    assert Flex().refuses(ask) is None
    results = []
    for kernel in (Flex(), KERNELS["reference"]()):
        out = kernel.run(ask)
        results.append([out, *torch.autograd.grad(out.square().sum(), wide)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
