"""AdapterDrop: equal to the adapter without its first layers, and backward that ends where they begin."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from peft_by_hand import TOKENS, drawn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.model import Model
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach, restore_state, state_of, switch_of
from danlu.peft.drop import leave_out
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

INNER = {"use": "houlsby", "width": 6}
LAYERS = 4


def deep() -> Model:
    return tiny_model(layers=LAYERS, seed=2).train()


def whole(name: str = "default") -> Model:
    """A model with an adapter in every layer that is not silent."""
    model = deep()
    attach(model, Spec("drop", {"adapter": INNER}), name)
    drawn(model, name)
    return model.eval()


def without(model: Model, first: int) -> torch.Tensor:
    """Logits of the plain adapter taken off the first layers by hand."""
    plain = deep().eval()
    attach(plain, Spec("houlsby", {"width": 6}))
    state = {
        key.replace(".inner.", "."): t for key, t in state_of(model, "default").items() if not key.endswith(".held")
    }
    restore_state(plain, "default", state, "here")
    for block in plain.blocks[:first]:
        for site in block.branch.values():
            del site["default"]
    with torch.no_grad():
        return plain(TOKENS)


@pytest.mark.parametrize("first", range(LAYERS))
def test_left_out_in_evaluation(first: int) -> None:
    model = whole()
    leave_out(model, "default", first)
    with torch.no_grad():
        assert torch.equal(model(TOKENS), without(model, first))


@pytest.mark.parametrize("first", range(1, LAYERS))
def test_fixed_layers_have_no_parameters_at_all(first: int) -> None:
    model = deep()
    attach(model, Spec("drop", {"adapter": INNER, "first": first}))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert {int(n.split(".")[1]) for n in trained} == set(range(first, LAYERS))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == (LAYERS - first) * 2 * (2 * 6 * 32 + 6 + 32)


def costs(model: Model) -> tuple[int, int]:
    """FLOPs of backward, and numbers that are kept for it."""
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.hidden(TOKENS).square().sum()
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    return counter.get_total_flops(), kept


def test_backward_ends_where_the_adapters_begin() -> None:
    """A layer less each time: the same FLOPs less, the same numbers kept less, and no gradient enters the rest."""
    found = []
    for first in range(LAYERS):
        model = deep()
        attach(model, Spec("drop", {"adapter": INNER, "first": first}))
        entering: list[bool] = []
        for block in model.blocks:
            block.register_forward_pre_hook(lambda _, given, to=entering: to.append(given[0].requires_grad))
        found.append(costs(model))
        assert entering == [layer > first for layer in range(LAYERS)]
    flops, kept = zip(*found, strict=True)
    steps = [(a - b) / flops[0] for a, b in pairwise(flops)]
    assert all(0.2 < step < 0.3 for step in steps), "a layer is about a quarter of four"
    assert all(a - b > kept[0] / 6 for a, b in pairwise(kept))


def test_drawn_depths_cost_what_fixed_ones_do() -> None:
    model = deep()
    attach(model, Spec("drop", {"adapter": INNER, "random": LAYERS - 1}))
    for first in range(LAYERS):
        fixed = deep()
        attach(fixed, Spec("drop", {"adapter": INNER, "first": first}))
        for module in model.modules():
            if type(module).__name__ == "Droppable":
                module.drawn.put(first)
        assert costs(model) == costs(fixed)
        model.zero_grad(set_to_none=True)


def trainer(model: Model) -> Trainer:
    tending = switch_of(model).adapters["default"].adapter.tending(model, "default", 8)
    return Trainer(model, NextToken(64, None), Fixed(packed(4, 32)), AdamW(lr=1e-2), tending=tending)


def depth(model: Model) -> int:
    found = {int(t) for key, t in state_of(model, "default").items() if key.endswith("drawn.held")}
    assert len(found) == 1
    return found.pop()


def test_a_new_depth_for_every_step_and_the_same_ones_after_a_kill() -> None:
    def begun(seed: int) -> Trainer:
        torch.manual_seed(seed)
        model = deep()
        attach(model, Spec("drop", {"adapter": INNER, "first": 1, "random": 3}))
        return trainer(model)

    one, depths = begun(3), []
    held = {}
    for step in range(1, 13):
        depths.append(depth(one.model))
        one.fit(step)
        if step == 6:
            held = {k: t.clone() for k, t in state_of(one.model, "default").items()}
            random, optimizer = torch.get_rng_state(), one.optimizer.state_dict()
            optimizer = {
                **optimizer,
                "state": {k: {n: t.clone() for n, t in s.items()} for k, s in optimizer["state"].items()},
            }
    assert set(depths) == {1, 2, 3}

    other = begun(4)
    restore_state(other.model, "default", held, "here")
    other.optimizer.load_state_dict(optimizer)
    torch.set_rng_state(random)
    other.step = 6
    again = []
    for step in range(7, 13):
        again.append(depth(other.model))
        other.fit(step)
    assert again == depths[6:]
    for key, tensor in state_of(one.model, "default").items():
        assert torch.equal(tensor, state_of(other.model, "default")[key]), key


def test_evaluation_within_training_uses_every_layer() -> None:
    model = whole()
    expected = model(TOKENS)
    for module in model.modules():
        if type(module).__name__ == "Droppable":
            module.drawn.put(2)
    assert torch.equal(model(TOKENS), expected)
    model.train()
    assert torch.equal(model(TOKENS), without(model, 2))


def test_layers_of_an_encoder_come_before_its_decoders() -> None:
    model = build(Spec("t5", {"model": 16, "layers": 2, "heads": 2}), vocab=40)
    attach(model, Spec("drop", {"adapter": {"use": "pfeiffer", "width": 3}, "first": 3}))
    assert {n.split(".branch")[0] for n, p in model.named_parameters() if p.requires_grad} == {"decoder.blocks.1"}


def test_mistakes_are_one_sentence() -> None:
    model = deep()
    with pytest.raises(ConfigError, match="stay below the 4 layers of this model, found 4 and 0"):
        attach(model, Spec("drop", {"adapter": INNER, "first": 4}))
    with pytest.raises(ConfigError, match="at least first; found 2 and 1"):
        attach(model, Spec("drop", {"adapter": INNER, "first": 2, "random": 1}))
    with pytest.raises(ConfigError, match="Lora does not act on what sublayers answer"):
        attach(model, Spec("drop", {"adapter": {"use": "lora", "rank": 2}}))
    with pytest.raises(ConfigError, match=r"adapter\.adapter: adapter 'houlsby' has no setting \['rank'\]"):
        attach(model, Spec("drop", {"adapter": {"use": "houlsby", "rank": 2}}))
