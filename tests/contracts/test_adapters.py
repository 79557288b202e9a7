"""Every adapter: starts where it says, switches, trains only its own, is saved, merged, recomputed, resumed and copied."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from train_tiny import Fixed, packed

from danlu.assembly import merge
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.nn.layout import Layout
from danlu.nn.sites import own
from danlu.nn.storages import STORAGES, store
from danlu.objectives.next_token import NextToken
from danlu.peft import ADAPTERS
from danlu.peft.attached import activate, attach, restore_state, sites_of, state_of
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

STEPS = 6
adapters = pytest.mark.parametrize("name", list(ADAPTERS))


@pytest.fixture
def base(newborn) -> Any:
    """A model with biases, for methods that train them."""
    return lambda: newborn(bias=True, ffn={"use": "swiglu", "bias": True})


def attached(model: Any, name: str, called: str = "default", seed: int = 0) -> Any:
    torch.manual_seed(seed)
    attach(model, Spec(name, ADAPTERS[name].example), called)
    return model


def trainer_of(model: Any, called: str = "default", steps: int = STEPS) -> Trainer:
    adapter = model.switch.adapters[called].adapter
    trainer = Trainer(
        model, NextToken(), Fixed(packed(4, 24)), AdamW(lr=3e-3), tending=adapter.tending(model, called, steps)
    )
    model.train()
    return trainer


def trained(model: Any, called: str = "default", steps: int = STEPS) -> list[float]:
    trainer = trainer_of(model, called, steps)
    losses = [trainer.update(trainer._draw()).loss for _ in range(steps)]
    model.eval()
    return losses


def answer(model: Any, tokens: Tensor, layout: Layout | None = None) -> Tensor:
    with torch.no_grad():
        return model(tokens, layout)


def numbers(model: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in own(model)}


def learned(model: Any, called: str = "default") -> dict[str, Tensor]:
    """What trains: parameters of attachments, and of the model itself."""
    mine = {
        f"{place}.{n}": p
        for place, site in sites_of(model)
        if called in site
        for n, p in site[called].named_parameters()
    }
    return {**mine, **{n: p for n, p in own(model) if n in model.switch.adapters[called].trains}}


@adapters
def test_the_start_is_the_base_where_promised_and_off_and_on_are_bits(name, base, tokens) -> None:
    model = base()
    plain = answer(model, tokens)
    attached(model, name)
    begun = answer(model, tokens)
    assert torch.equal(begun, plain) or not ADAPTERS[name].exact_start
    for _ in range(2):
        activate(model)
        assert torch.equal(answer(model, tokens), plain)
        activate(model, "default")
        assert torch.equal(answer(model, tokens), begun)


@adapters
def test_training_lowers_the_loss_and_moves_nothing_else(name, base) -> None:
    model = attached(base(), name)
    asked, before = learned(model), numbers(model)
    assert {id(p) for p in model.parameters() if p.requires_grad} <= {id(p) for p in asked.values()}
    assert 0 < sum(p.requires_grad for p in model.parameters()) < len(list(model.parameters()))
    held = {n: p.detach().clone() for n, p in asked.items()}
    losses = trained(model)
    assert losses[-1] < losses[0]
    assert any(not torch.equal(p, held[n]) for n, p in asked.items())
    if not ADAPTERS[name].changes_base:
        own_ = model.switch.adapters["default"].trains
        assert all(torch.equal(tensor, before[n]) for n, tensor in own(model) if n not in own_)


@adapters
def test_what_was_trained_is_another_answer_and_off_is_the_base_again(name, base, tokens) -> None:
    model = base()
    plain = answer(model, tokens)
    trained(attached(model, name))
    found = answer(model, tokens)
    assert not torch.allclose(found, plain, atol=1e-4)
    activate(model)
    assert torch.equal(answer(model, tokens), plain) != ADAPTERS[name].changes_base
    activate(model, "default")
    assert torch.equal(answer(model, tokens), found)


@adapters
def test_saved_numbers_answer_equally_in_another_model_under_another_name(name, base, tokens) -> None:
    model = attached(base(), name)
    trained(model)
    state = {key: tensor.clone() for key, tensor in state_of(model, "default").items()}
    fresh = attached(base(), name, called="other", seed=9)
    if ADAPTERS[name].changes_base:
        there = dict(own(fresh))
        for key, tensor in numbers(model).items():
            there[key].data.copy_(tensor)
    restore_state(fresh, "other", state, "here")
    assert torch.equal(answer(fresh, tokens), answer(model, tokens))


@adapters
def test_killed_and_resumed_is_uninterrupted(name, base, tokens) -> None:
    """All that a method remembers lies in its attachments; a run keeps nothing else of it."""
    model = attached(base(), name)
    trainer = trainer_of(model)
    for _ in range(STEPS // 2):
        trainer.update(trainer._draw())
    state = {key: tensor.clone() for key, tensor in state_of(model, "default").items()}
    weights, moments = numbers(model), copy.deepcopy(trainer.optimizer.state_dict())
    drawn = torch.get_rng_state()
    for _ in range(STEPS - STEPS // 2):
        trainer.update(trainer._draw())
    fresh = attached(base(), name, seed=9)
    again, there = trainer_of(fresh), dict(own(fresh))
    for key, tensor in weights.items():
        there[key].data.copy_(tensor)
    restore_state(fresh, "default", state, "here")
    again.optimizer.load_state_dict(moments)
    again.step = STEPS // 2
    torch.set_rng_state(drawn)
    for _ in range(STEPS - STEPS // 2):
        again.update(again._draw())
    assert torch.equal(answer(fresh.eval(), tokens), answer(model.eval(), tokens))


@adapters
def test_merged_equals_unmerged_or_is_refused(name, base, tokens) -> None:
    model = attached(base(), name)
    trained(model)
    whole = answer(model, tokens)
    if not ADAPTERS[name].merges:
        with pytest.raises(ConfigError, match="which no weight can do"):
            merge(model)
        assert torch.equal(answer(model, tokens), whole)
        return
    merged = merge(copy.deepcopy(model))
    assert not sites_of(merged)
    assert torch.allclose(answer(merged, tokens), whole, atol=1e-5, rtol=1e-5)
    assert {n: p.shape for n, p in merged.named_parameters()} == {n: p.shape for n, p in base().named_parameters()}


@adapters
def test_recomputed_blocks_give_equal_gradients(name, base) -> None:
    batch, found = packed(2, 16), []
    for recompute in (False, True):
        model = attached(base(), name)
        trained(model, steps=5)
        model.train()
        model.zero_grad()
        model.recompute = recompute
        torch.manual_seed(5)
        NextToken().loss(model, batch).total.backward()
        found.append([p.grad for p in learned(model).values()])
    assert any(grad is not None and grad.abs().sum() > 0 for grad in found[0])
    for kept, remade in zip(*found, strict=True):
        assert (kept is None) == (remade is None)
        if kept is not None:
            torch.testing.assert_close(remade, kept, atol=1e-6, rtol=1e-5)


@adapters
def test_packed_documents_answer_as_alone(name, base, tokens) -> None:
    model = attached(base(), name)
    trained(model)
    segment = torch.tensor([[1] * 5 + [2] * 7])
    where = Layout.of(torch.tensor([[*range(5), *range(7)]]), segment)
    alone = torch.cat([answer(model, tokens[:1, :5]), answer(model, tokens[:1, 5:])], 1)
    torch.testing.assert_close(answer(model, tokens[:1], where), alone, atol=1e-5, rtol=1e-5)


@adapters
def test_a_copy_is_a_model_of_its_own(name, base, tokens) -> None:
    model = attached(base(), name)
    trained(model)
    twin = copy.deepcopy(model)
    whole = answer(model, tokens)
    assert torch.equal(answer(twin, tokens), whole)
    with torch.no_grad():
        for parameter in learned(twin).values():
            parameter.add_(0.1)
    assert not torch.equal(answer(twin, tokens), whole)
    activate(twin)
    assert torch.equal(answer(model, tokens), whole)


@adapters
def test_two_of_a_kind_are_switched_and_the_one_keeps_what_it_learned(name, base, tokens) -> None:
    model = attached(base(), name, "first")
    trained(model, "first")
    first = answer(model, tokens)
    weights = numbers(model)
    attached(model, name, "second", seed=4)
    trained(model, "second", steps=5)
    assert not torch.equal(answer(model, tokens), first)
    activate(model, "first")
    if ADAPTERS[name].changes_base:
        there = dict(own(model))
        for key, tensor in weights.items():
            there[key].data.copy_(tensor)
    assert torch.equal(answer(model, tokens), first)


@adapters
def test_over_the_smallest_storage_it_trains_or_is_refused_before_anything_is_hung(name, base, tokens) -> None:
    model = base()
    store(model, min((STORAGES[storage]() for storage in STORAGES), key=lambda storage: storage.bits))
    plain = answer(model, tokens)
    try:
        attached(model, name)
    except ConfigError:
        assert torch.equal(answer(model, tokens), plain)
        assert not sites_of(model)
        assert ADAPTERS[name].changes_base or attached(base(), name).switch.adapters["default"].trains
        return
    assert torch.equal(answer(model, tokens), plain) or not ADAPTERS[name].exact_start
    losses = trained(model, steps=5)
    assert losses[-1] < losses[0]


@adapters
def test_under_autocast_its_numbers_and_gradients_stay_whole(name, base) -> None:
    model = attached(base(), name).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = NextToken().loss(model, packed(2, 16))
    loss.total.backward()
    grads = [p.grad for p in learned(model).values() if p.grad is not None]
    assert grads
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)
