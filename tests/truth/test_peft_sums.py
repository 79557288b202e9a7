"""Sums of methods: MAM is its two parts at once; UniPELT's gates shut, open, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from train_tiny import tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Stack
from danlu.nn.layout import Layout
from danlu.peft import Tending
from danlu.peft.attached import activate, attach, restore_state, state_of, switch_of
from danlu.peft.sums import All, Gate, GatedKeys

TOKENS = torch.randint(0, 40, (2, 7), generator=torch.Generator().manual_seed(1))
LORA = Spec("lora", {"rank": 3, "at": "blocks.*.{q,v}"})
KEYS = Spec("prefix", {"length": 4, "width": 5, "shift": False})
AFTER = Spec("pfeiffer", {"width": 6})
BESIDE = Spec("parallel_adapter", {"width": 6, "scale": 2.0})
UNIPELT = Spec("unipelt", {"lora": LORA, "keys": KEYS, "after": AFTER})
INSIDE = {"lora": "deltas", "keys": "kv", "after": "branch"}


def with_adapter(spec: Spec, seed: int = 4) -> Stack:
    model = tiny_model(seed=2, kv_heads=2).double().eval()
    attach(model, spec)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def gates(model: Stack, kind: str) -> list[Gate]:
    return [part for place, part in model.named_modules() if isinstance(part, Gate) and INSIDE[kind] in place]


def set_to(gate: Gate, value: float) -> None:
    """σ(±60) is 0 or 1 in float64 up to 1e-26."""
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(value)


@torch.no_grad()
def test_mam_is_its_parts_at_once() -> None:
    model = with_adapter(Spec("mam", {"keys": KEYS, "beside": BESIDE}))
    apart = tiny_model(seed=2, kv_heads=2).double().eval()
    attach(apart, KEYS, "first")
    attach(apart, BESIDE, "second")
    state = state_of(model, "default")
    for name in ("first", "second"):
        restore_state(apart, name, {key: state[key] for key in state_of(apart, name)}, "here")
    activate(apart, "first", "second")
    assert len(state_of(apart, "first")) + len(state_of(apart, "second")) == len(state)
    torch.testing.assert_close(model(TOKENS), apart(TOKENS), atol=1e-12, rtol=1e-12)
    activate(apart, "first")
    assert not torch.allclose(model(TOKENS), apart(TOKENS), atol=1e-3)


def test_the_sizes_of_the_papers() -> None:
    for use, expected in {
        "mam": {"kv.up.weight": (2 * 4 * 8, 512), "branch.ffn.down.weight": (512, 32)},
        "unipelt": {"kv.inner.up.weight": (2 * 4 * 8, 512), "deltas.inner.down.weight": (8, 32)},
    }.items():
        model = tiny_model()
        attach(model, Spec(use))
        shapes = {key: tuple(tensor.shape) for key, tensor in state_of(model, "default").items()}
        for end, shape in expected.items():
            assert {found for key, found in shapes.items() if key.endswith(end)} == {shape}
        assert model.extra == 0


@torch.no_grad()
def test_gates_shut_are_the_base_and_one_open_is_its_part_alone() -> None:
    model = with_adapter(UNIPELT)
    base = tiny_model(seed=2, kv_heads=2).double().eval()
    for kind in INSIDE:
        assert len(gates(model, kind)) == (4 if kind == "lora" else 2)
        for gate in gates(model, kind):
            set_to(gate, -60)
    torch.testing.assert_close(model(TOKENS), base(TOKENS), atol=1e-12, rtol=1e-12)
    for kind, spec in {"lora": LORA, "keys": KEYS, "after": AFTER}.items():
        for gate in gates(model, kind):
            set_to(gate, 60)
        alone = tiny_model(seed=2, kv_heads=2).double().eval()
        attach(alone, spec)
        state = {key.replace(".inner.", "."): tensor for key, tensor in state_of(model, "default").items()}
        restore_state(alone, "default", {key: state[key] for key in state_of(alone, "default")}, "here")
        torch.testing.assert_close(model(TOKENS), alone(TOKENS), atol=1e-12, rtol=1e-12)
        assert not torch.allclose(model(TOKENS), base(TOKENS), atol=1e-3)
        for gate in gates(model, kind):
            set_to(gate, -60)


@torch.no_grad()
def test_gated_weights_by_hand() -> None:
    """The prefix weighs g times as much in each query's softmax; other parts are g times what they add."""
    model = with_adapter(UNIPELT)
    block = model.blocks[0]
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in ("attention", "ffn"):
        block.sublayers[name].register_forward_hook(
            lambda part, given, answer, name=name: seen.update({name: (given[0], answer)})
        )
    model(TOKENS)
    x, found = seen["attention"]
    attention = block.sublayers.attention
    site: GatedKeys = attention.kv["default"]

    def mapped(adapted: torch.nn.Module) -> Tensor:
        delta = adapted.deltas["default"]
        up, down = (part.weight.double() for part in (delta.inner.up, delta.inner.down))
        update = torch.einsum("or,ri,bti->bto", up, down, x) * 16 / 3
        return adapted.origin(x) + share(delta.gate, x) * update

    def share(gate: Gate, x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-(torch.einsum("oi,bti->bto", gate.weight.double(), x) + gate.bias.double())))

    rows, length, _ = x.shape
    q, k, v = (part.view(rows, length, -1, 8) for part in (mapped(attention.q), attention.k(x), mapped(attention.v)))
    dense = Layout.dense(TOKENS)
    q, k = model.position.rotate(q, dense), model.position.rotate(k, dense)
    before_k, before_v = site.inner.made().unbind(1)
    k, v = (y.repeat_interleave(2, 2) for y in (k, v))
    before_k, before_v = (y.repeat_interleave(2, 1) for y in (before_k, before_v))
    own = (torch.einsum("bthd,bshd->bhts", q, k) / 8**0.5).exp() * torch.ones(length, length).tril()
    virtual = (torch.einsum("bthd,nhd->bhtn", q, before_k) / 8**0.5).exp() * share(site.gate, x)[:, None]
    total = own.sum(-1) + virtual.sum(-1)
    out = torch.einsum("bhts,bshd->bthd", own, v) + torch.einsum("bhtn,nhd->bthd", virtual, before_v)
    out = out / total.transpose(1, 2)[..., None]
    torch.testing.assert_close(found, attention.o(out.flatten(-2)), atol=1e-10, rtol=1e-10)
    x, y = seen["ffn"]
    branch = block.branch.ffn["default"]
    expected = y + share(branch.gate, x) * (branch.inner(x, y) - y)
    torch.testing.assert_close(branch(x, y), expected, atol=1e-12, rtol=1e-12)


def test_everything_learns() -> None:
    model = with_adapter(UNIPELT)
    model.train()(TOKENS).square().mean().backward()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert not [name for name, p in trained if p.grad is None or not p.grad.abs().sum() > 0]
    assert len([name for name, _ in trained if ".gate." in name]) == 2 * (4 + 2 + 2)


def test_parts_at_one_place_are_refused() -> None:
    for spec in (Spec("mam", {"keys": KEYS, "beside": KEYS}), Spec("unipelt", {"lora": LORA, "after": LORA})):
        model = tiny_model()
        with pytest.raises(ConfigError, match="two parts of the adapter 'default' want to act at the same place"):
            attach(model, spec)
        assert not switch_of(model).adapters


def test_tendings_of_parts() -> None:
    """Paces multiply, and each part hears of every step."""

    class Heard(Tending):
        def __init__(self, pace: float) -> None:
            self.by, self.steps = pace, []

        def pace(self, step: int) -> float:
            return self.by

        def graded(self, step: int) -> None:
            self.steps.append(step)

        def moved(self, step: int) -> list[torch.nn.Parameter]:
            return [torch.nn.Parameter(torch.full((1,), self.by))]

    parts = [Heard(0.5), Heard(0.25)]
    both = All(parts)
    both.graded(3)
    assert both.pace(1) == 0.125
    assert [part.steps for part in parts] == [[3], [3]]
    assert [p.item() for p in both.moved(1)] == [0.5, 0.25]
