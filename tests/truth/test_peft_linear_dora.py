"""DoRA: equation 5 in float64, its gradient with the norm held constant, and what is kept for backward."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.linear import Linear
from danlu.peft.dora import Dora, DoraDelta


def filled(bias: bool) -> tuple[Linear, DoraDelta]:
    torch.manual_seed(3)
    base = Linear(6, 4, axes=("a", "b"), bias=bias).double()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter)
        parameter.requires_grad_(False)
    delta = DoraDelta(base, rank=2, scale=1.5, dropout=0.0).double()
    with torch.no_grad():
        torch.testing.assert_close(delta.magnitude, delta.norms(), rtol=1e-6, atol=0)  # born in fp32
        delta.magnitude.copy_(delta.norms())
    return base, delta


def random(delta: DoraDelta) -> None:
    for parameter in delta.parameters():
        torch.nn.init.normal_(parameter)


@pytest.mark.parametrize("bias", [False, True])
def test_equation_5(bias) -> None:
    base, delta = filled(bias)
    torch.testing.assert_close(delta.magnitude.data, torch.linalg.norm(base.weight, dim=1))
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    assert torch.equal(delta(x, base(x)), base(x))  # m = ‖W‖: exactly the base, bias or not
    random(delta)
    moved = base.weight + 1.5 * delta.up.weight @ delta.down.weight
    whole = delta.magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True)
    expected = x @ whole.t() + (base.bias if bias else 0)
    torch.testing.assert_close(delta(x, base(x)), expected)
    torch.testing.assert_close(delta.merged(base.weight, base.bias)[0], whole)
    torch.testing.assert_close(delta.norms(), moved.norm(dim=1))


def test_gradients_take_the_norm_for_a_constant() -> None:
    base, delta = filled(bias=True)
    random(delta)
    x = torch.randn(5, 4, dtype=torch.float64)
    weight = torch.randn(5, 6, dtype=torch.float64)
    (delta(x, base(x)) * weight).sum().backward()
    found = [p.grad.clone() for p in delta.parameters()]
    parts = [p.detach().clone().requires_grad_() for p in delta.parameters()]
    by_name = dict(zip([name for name, _ in delta.named_parameters()], parts, strict=True))
    moved = base.weight + 1.5 * by_name["up.weight"] @ by_name["down.weight"]
    whole = by_name["magnitude"][:, None] * moved / moved.detach().norm(dim=1, keepdim=True)
    ((x @ whole.t() + base.bias) * weight).sum().backward()
    for mine, part in zip(found, parts, strict=True):
        torch.testing.assert_close(mine, part.grad)


def test_nothing_as_large_as_the_weight_is_kept() -> None:
    wide = Linear(48, 40, axes=("a", "b")).requires_grad_(False)
    torch.nn.init.normal_(wide.weight)
    delta = DoraDelta(wide, rank=2, scale=1.0, dropout=0.0)
    kept: list[int] = []

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() != wide.weight.data_ptr():
            kept.append(tensor.numel())
        return tensor

    x = torch.randn(3, 40, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        delta(x, wide(x))
    assert max(kept) <= 3 * 48


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="adapter dora: rank is at least 1"):
        Dora(rank=0)
