"""Adapters that have values of their own of the model's parameters: switched to each other, to the base and back, bit for bit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from train_tiny import packed

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.model import Model
from danlu.nn.sites import own
from danlu.peft.attached import activate, attach, restore_state, state_of

TOKENS = packed(2, 16).tokens


def gpt2() -> Model:
    """Tied: its embedding is its head."""
    return build(Spec("gpt2", {"model": 32, "layers": 2, "heads": 4, "context": 32}), vocab=40, seed=1).eval()


def moved(model: Model, seed: int) -> None:
    """What training would do to all that trains."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in {id(p): p for p in model.parameters() if p.requires_grad}.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in own(model)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("bitfit", {}, []), ("bitfit", {}, [])),
        (("bitfit", {}, ["embed"]), ("norms_only", {}, [])),
        (("last_layers", {}, ["head"]), ("select", {"at": "q", "rows": [1]}, ["embed"])),
        (("houlsby", {"width": 4}, ["embed", "norm"]), ("bitfit", {}, [])),
    ],
)
def test_two_adapters_and_the_base_and_back(first, second) -> None:
    model = gpt2()
    base = weights(model)
    told = {(): model(TOKENS)}
    held = {(): base}
    for number, (use, settings, also) in enumerate((first, second)):
        name = "ab"[number]
        attach(model, Spec(use, settings), name, also=also)
        moved(model, number)
        told[(name,)], held[(name,)] = model(TOKENS).detach(), weights(model)
        assert not torch.equal(told[(name,)], told[()])
    states = {name: {k: t.clone() for k, t in state_of(model, name).items()} for name in "ab"}
    for names in [(), ("a",), ("b",), ("a",), (), ("b",), (), ("a",)]:
        activate(model, *names)
        assert same(weights(model), held[names])
        assert torch.equal(model(TOKENS), told[names])
        assert model.head.weight is model.embed.weight
        for name in "ab":
            assert same(state_of(model, name), states[name]), "its numbers are found whether it acts or rests"


def test_what_trains_after_a_switch_is_what_is_kept() -> None:
    """An adapter that rested, acts again and moves has its new values, not those it rested with."""
    model = gpt2()
    attach(model, Spec("bitfit"), "a")
    moved(model, 1)
    activate(model)
    activate(model, "a")
    moved(model, 2)
    after = weights(model)
    assert torch.equal(state_of(model, "a")["model.norm.bias"], after["norm.bias"])
    activate(model)
    activate(model, "a")
    assert same(weights(model), after)


def test_an_adapter_that_acts_takes_restored_numbers_at_once() -> None:
    model = gpt2()
    attach(model, Spec("bitfit"), "a")
    activate(model)
    activate(model, "a")
    state = {k: torch.full_like(t, 2.0) for k, t in state_of(model, "a").items()}
    restore_state(model, "a", state, "here")
    assert (model.norm.bias == 2).all()


def test_tied_parameters_are_kept_once_and_can_be_written() -> None:
    """safetensors refuses two names for one memory."""
    model = gpt2()
    attach(model, Spec("bitfit"), "a", also=["head"])
    moved(model, 1)
    assert [n for n in state_of(model, "a") if "embed" in n or "head" in n] == ["model.embed.weight"]
    written = load(save(state_of(model, "a")))
    other = gpt2()
    attach(other, Spec("bitfit"), "b", also=["embed"])
    restore_state(other, "b", written, "there")
    assert torch.equal(other(TOKENS), model(TOKENS))


def test_shared_layers_switch_as_one() -> None:
    model = build(Spec("albert", {"model": 32, "layers": 3, "heads": 4, "context": 32}), vocab=40, seed=1).eval()
    base, before = weights(model), model(TOKENS).detach()
    attach(model, Spec("bitfit"), "a")
    moved(model, 1)
    after = model(TOKENS).detach()
    assert not [n for n in state_of(model, "a") if n.startswith(("model.blocks.1", "model.blocks.2"))]
    activate(model)
    assert same(weights(model), base)
    assert torch.equal(model(TOKENS), before)
    activate(model, "a")
    assert torch.equal(model(TOKENS), after)


def test_two_that_want_the_same_parameters_do_not_act_together() -> None:
    model = gpt2()
    attach(model, Spec("bitfit"), "a")
    attach(model, Spec("norms_only"), "b")
    with pytest.raises(ConfigError, match="want different values of the same parameters"):
        activate(model, "a", "b")
    attach(model, Spec("select", {"at": "q"}), "c")
    with pytest.raises(ConfigError, match="want different values"):
        activate(model, "a", "c")
    attach(model, Spec("select", {"at": "embed"}), "d")
    moved(model, 3)
    both = weights(model)["embed.weight"]
    activate(model, "a", "d")
    assert torch.equal(model.embed.weight, both)
