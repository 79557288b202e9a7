"""The trace: tensors without memory counted by hand, and a small step beside torch's allocator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from danlu.plan import allocating
from danlu.plan.trace import Trace

KB = 1000  # of 4-byte numbers: 4000 bytes


def room(module: nn.Module) -> str | None:
    return "linear" if isinstance(module, nn.Linear) else None


def peak(trace: Trace, phase: str) -> int:
    return max(sum(kinds.values()) for (name, _), kinds in trace.moments().items() if name == phase)


def test_births_and_deaths_by_hand() -> None:
    trace = Trace(room)
    with trace.watching():
        a = torch.zeros(KB)
        trace.begin("one")
        b = a * 2
        view = b[10:20].view(2, 5)
        view.add_(1)
        del a
        c = torch.ones(2 * KB)
        trace.begin("two")
        del b, c
        trace.begin("three")
        assert isinstance(view, FakeTensor)
    assert [peak(trace, name) for name in ("begin", "one", "two", "three")] == [4000, 12_000, 12_000, 4000]


def test_an_allocator_rounds_up() -> None:
    trace = Trace(room, unit=512)
    with trace.watching():
        kept = torch.zeros(1), torch.zeros(129)
        assert len(kept) == 2
    assert peak(trace, "begin") == 512 + 1024


def test_whole_numbers_and_masks_stay_real() -> None:
    with Trace(room).watching():
        places = torch.arange(6)
        assert (places % 2 == 0).nonzero().flatten().tolist() == [0, 2, 4]
        numbers = torch.zeros(6)
        assert numbers[places % 2 == 0].shape == (3,)
        assert isinstance(numbers, FakeTensor)
        numbers[places > 3] = 1.0
        assert numbers.sum().item() == 1.0, "a number that is asked for is 1"
        values, chosen = torch.zeros(4, 3).topk(2)
        assert isinstance(values, FakeTensor)
        assert chosen.tolist() == [[0, 1], [2, 0], [1, 2], [0, 1]], "each as often as the others"
        assert not isinstance(torch.zeros(3, dtype=torch.int64), FakeTensor)
        assert isinstance(torch.zeros(3, dtype=torch.uint8), FakeTensor), "bytes may be codes of many numbers"


def test_what_is_kept_has_the_name_of_its_module() -> None:
    """x W1 is kept for its relu's way back; what relu answers, for the second map; products die at once."""
    trace = Trace(room)
    with trace.watching():
        first, second, x = nn.Linear(10, 100, bias=False), nn.Linear(100, 10, bias=False), torch.zeros(50, 10)
        trace.call("weights", [first.weight, second.weight])
        trace.begin("loss")
        y = (second(first(x).relu()) * 3).sum()
        trace.begin("backward")
        y.backward()
    (kinds,) = (kinds for (name, _), kinds in trace.moments().items() if name == "loss")
    assert kinds["weights"] == 2 * 1000 * 4
    assert "activations: linear" not in kinds, "relu keeps its answer, not what it read"
    found = trace.moments()[("backward", 0)]
    assert found["weights"] == 8000


class Net(nn.Module):
    """A bit of everything: a table, a norm, attention, a residual stream that is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(50, 32), nn.LayerNorm(32)
        self.wide, self.back = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        q, k, v = (part.view(2, 40, 4, 8).transpose(1, 2) for part in self.wide(self.norm(x)).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.back(y.transpose(1, 2).flatten(2))


def step(net: Net, tokens: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss = nn.functional.cross_entropy((net(tokens) @ net.table.weight.T).flatten(0, 1), tokens.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_beside_the_allocator(fused: bool) -> None:
    tokens = torch.randint(50, (2, 40))

    def made() -> tuple[Net, torch.optim.Optimizer]:
        net = Net()
        return net, torch.optim.AdamW(net.parameters(), fused=fused, foreach=not fused)

    trace = Trace(room)
    with trace.watching():
        net, optimizer = made()
        for name in ("first", "second"):
            trace.begin(name)
            step(net, tokens, optimizer)
    with allocating(after="second") as seen:
        real, moving = made()
        step(real, tokens, moving)
        with torch.profiler.record_function("second"):
            pass
        step(real, tokens, moving)
    assert peak(trace, "second") == pytest.approx(seen.bytes_, rel=0.005)


def test_modules_move_and_are_as_before_afterwards() -> None:
    trace = Trace(room)
    before = nn.Module._apply
    with trace.watching():
        net = nn.Linear(4, 4).to(torch.bfloat16)
        assert net.weight.dtype is torch.bfloat16
    assert nn.Module._apply is before
    assert nn.Linear(4, 4).to(torch.bfloat16)(torch.zeros(1, 4, dtype=torch.bfloat16)).shape == (1, 4)
