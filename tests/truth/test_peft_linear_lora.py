"""LoRA: the formula in float64, gradients by finite differences, dropout, where it attaches and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from train_tiny import packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.linear import Linear
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach, sites_of
from danlu.peft.deltas import deltas_of
from danlu.peft.lora import Lora, LoraDelta
from danlu.peft.low_rank import add


def filled(out: int = 5, inp: int = 4, bias: bool = True) -> Linear:
    torch.manual_seed(1)
    made = Linear(out, inp, axes=("a", "b"), bias=bias).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def delta_on(base: Linear, rank: int = 2, scale: float = 1.5, dropout: float = 0.0) -> LoraDelta:
    delta = LoraDelta(base, rank=rank, scale=scale, dropout=dropout).double()
    torch.nn.init.normal_(delta.up.weight)
    return delta


def test_the_formula() -> None:
    base = filled()
    delta = delta_on(base)
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    found = delta(x, base(x))
    whole = base.weight + 1.5 * delta.up.weight @ delta.down.weight
    torch.testing.assert_close(found, x @ whole.t() + base.bias)
    weight, bias = delta.merged(base.weight, base.bias)
    torch.testing.assert_close(weight, whole)
    assert bias is base.bias


def test_gradients_by_finite_differences() -> None:
    """Of what the map answered, of x, A and B; rows without order in memory, a bias whose answer is a view."""
    torch.manual_seed(2)
    base = filled().requires_grad_(False)
    x, down, up = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in [(4, 2, 3), (2, 4), (5, 2)])

    def through(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        x = x.transpose(0, 2)
        return add(base(x), x, down, up, 0.7).tanh()

    assert torch.autograd.gradcheck(through, (x, down, up))


def test_dropout_falls_on_what_a_reads_and_is_scaled_up() -> None:
    torch.manual_seed(0)
    base = Linear(3, 2000, axes=("a", "b"))
    delta = LoraDelta(base, rank=1, scale=1.0, dropout=0.25)
    with torch.no_grad():
        delta.down.weight.fill_(1.0)
        delta.up.weight.fill_(1.0)
    x = torch.ones(1, 2000, requires_grad=True)
    answered = delta(x, base(x))
    kept = answered[0, 0].item() * 0.75
    assert kept == pytest.approx(1500, abs=100)
    answered[0, 0].backward()
    assert sorted(set(x.grad[0].tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert (x.grad[0] > 0).sum().item() == round(kept)
    assert delta.down.weight.grad[0].gt(0).sum().item() == round(kept)
    assert delta.eval()(x.detach(), base(x.detach()))[0, 0].item() == pytest.approx(2000)


@pytest.mark.parametrize(("scaling", "scale"), [("rank", 6 / 4), ("root", 6 / math.sqrt(4))])
def test_scales(scaling, scale) -> None:
    assert Lora(rank=4, alpha=6, scaling=scaling).scale == pytest.approx(scale)


def test_a_half_precision_map_gets_a_half_precision_answer_and_whole_gradients() -> None:
    base = filled().float().bfloat16()
    delta = delta_on(base).float()
    x = torch.randn(6, 4, dtype=torch.bfloat16, requires_grad=True)
    found = delta(x, base(x))
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    assert delta.up.weight.grad.dtype == delta.down.weight.grad.dtype == torch.float32
    assert x.grad.dtype == torch.bfloat16


def test_it_keeps_no_more_than_what_the_map_reads_and_the_inner() -> None:
    """Bytes that backward waits for: x, the inner (N, r) and the two matrices; nothing as large as the answer."""
    base = Linear(64, 32, axes=("a", "b")).requires_grad_(False)
    delta = LoraDelta(base, rank=4, scale=1.0, dropout=0.0)
    saved: dict[int, int] = {}

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(100, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        delta(x, base(x))
    assert sum(saved.values()) == 4 * (100 * 32 + 100 * 4 + 4 * 32 + 64 * 4 + 64 * 32)


def test_all_is_every_linear_map_of_the_blocks() -> None:
    model = tiny_model()
    attach(model, Spec("lora", {"at": "all"}))
    leaves = sorted(name.removeprefix("blocks.1.") for name in deltas_of(model, "default") if "blocks.1." in name)
    assert leaves == [f"sublayers.{leaf}" for leaf in (
        "attention.k", "attention.o", "attention.q", "attention.v", "ffn.down", "ffn.gate", "ffn.up")]  # fmt: skip


def test_all_leaves_out_what_scores_experts() -> None:
    model = build(Spec("mixtral", {"model": 32, "layers": 1, "heads": 4, "context": 16, "experts": 4}), vocab=40)
    attach(model, Spec("lora", {"at": "all"}))
    assert not [name for name in deltas_of(model, "default") if "router" in name]
    assert deltas_of(model, "default")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 33}, "rank 33 is larger than blocks.0.sublayers.attention.q, which maps 32 to 32; lower rank"),
        ({"at": ["q", "ffn.dwon"]}, r"nearest are \['down', 'o'\], for example 'blocks.0.sublayers.ffn.down'"),
        ({"at": "self_attn.q_proj"}, "q_proj is called q here"),
        ({"at": ["c_attn"]}, "c_attn is called {q,k,v} here"),
        ({"at": "blocks.*.{query,value}"}, "query is called q here, value is called v here"),
        ({"at": "all-linear"}, "all-linear is called all here"),
        ({"at": 3}, "at is the name of linear maps, or a list of names, found 3"),
        ({"rank": 0}, "rank is at least 1"),
        ({"dropout": 1.0}, "dropout in"),
        ({"scaling": "rot"}, r"no scaling named 'rot' \(did you mean 'root'\?\); there are: rank, root"),
    ],
)
def test_refusals_leave_the_model_as_it_was(settings, said) -> None:
    model = tiny_model()
    attach(model, Spec("lora"), "first")
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    places, active = [(place, set(site)) for place, site in sites_of(model)], model.switch.active
    with pytest.raises(ConfigError, match=said):
        attach(model, Spec("lora", settings), "second")
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert [(place, set(site)) for place, site in sites_of(model)] == places
    assert model.switch.active == active == ("first",)
    NextToken().loss(model, packed(2, 16)).total.backward()


def test_a_rank_too_large_for_a_later_map_hangs_nothing() -> None:
    model = tiny_model(kv_heads=2)  # k and v map 32 to 16, q is reached before
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(ConfigError, match=r"rank 20 is larger than blocks.0.sublayers.attention.k"):
        attach(model, Spec("lora", {"rank": 20}))
    assert [name for name, _ in model.named_parameters()] == names
