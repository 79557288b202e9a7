"""Fusion against softmax and sum by hand; its members from folders, from the model, and in its own folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft_by_hand import TOKENS, by_hand, drawn
from safetensors.torch import save_file
from train_tiny import packed, tiny_model

from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.peft.attached import Base, activate, attach, restore_state, state_of
from danlu.peft.drop import Droppable

HOULSBY, PFEIFFER = Spec("houlsby", {"width": 3}), Spec("pfeiffer", {"width": 4})


def alone() -> Model:
    model = tiny_model(seed=2).double().eval()
    with torch.no_grad():
        model.head.weight.mul_(20)  # a newborn's logits are too small to say anything
    return model


def with_two() -> Model:
    """A model with two adapters of different kinds, neither of which is silent."""
    model = alone()
    for name, spec in (("law", HOULSBY), ("tales", PFEIFFER)):
        attach(model, spec, name)
        drawn(model, name)
    for tensor in state_of(model, "tales").values():
        tensor.mul_(-0.7)
    return model


def written(model: Model, name: str, folder: Path, fingerprint: str = "one") -> str:
    """A folder of an adapter as a run leaves it."""
    (folder / "final" / "danlu").mkdir(parents=True)
    spec = model.switch.adapters[name].spec
    base = {"path": "somewhere", "beside": "../somewhere", "fingerprint": fingerprint}
    said = {"adapter": spec.write(), "trains": [], "base": base}
    (folder / "final/danlu/adapter.json").write_text(json.dumps(said))
    save_file(state_of(model, name), folder / "final/danlu/adapter.safetensors")
    return str(folder)


def test_softmax_and_sum_by_hand() -> None:
    model = with_two()
    attach(model, Spec("fusion", {"adapters": ["law", "tales"]}), "both")
    drawn(model, "both")
    members = {"law": state_of(model, "law"), "tales": state_of(model, "tales")}
    with torch.no_grad():  # what was drawn anew are the members too: give them back their numbers
        for key, tensor in state_of(model, "both").items():
            for name, state in members.items():
                if (found := state.get(key.replace(f"members.{name}.", ""))) is not None and f".{name}." in key:
                    tensor.copy_(found)

    def change(place: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        block, sublayer = place.rsplit(".", 1)
        site = model.get_submodule(f"{block}.branch.{sublayer}")
        z = [site[name](x, y) for name in ("law", "tales") if name in site]
        fused = site["both"]
        q = y @ fused.query.weight.T
        scores = torch.stack([(q * (one @ fused.key.weight.T)).sum(-1) for one in z], -1)
        share = scores.exp() / scores.exp().sum(-1, keepdim=True)
        mixed = sum(share[..., n, None] * one for n, one in enumerate(z))
        return mixed @ fused.value.weight.T

    with torch.no_grad():
        expected = by_hand(model, model.embed(TOKENS), Layout.dense(TOKENS), change)
        torch.testing.assert_close(model.hidden(TOKENS), expected, atol=1e-10, rtol=1e-10)


def test_one_token_worked_by_hand() -> None:
    """M = 2: y = (1, 0), z = (2, 0) and (0, 2), W_q = W_k = ln 3 / 2 · 1 on the first axis: shares 3/4 … by hand."""
    import math

    from danlu.nn.sites import Branch
    from danlu.peft.fusion import Fused

    class Says(Branch):
        def __init__(self, *z: float) -> None:
            super().__init__()
            self.z = torch.tensor([[z]], dtype=torch.float64)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.z

    fused = Fused(2, {"a": Says(2.0, 0.0), "b": Says(0.0, 2.0)}).double()
    with torch.no_grad():
        fused.query.weight.copy_(torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]))
        fused.key.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
        fused.value.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        y = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
        answer = fused(y, y)  # scores ln 3 · 1 and 0; shares 3/4 and 1/4; mixed (1.5, 0.5)
    torch.testing.assert_close(answer, torch.tensor([[[1.5, 2.0]]], dtype=torch.float64))


def test_members_that_agree_are_answered_like_one() -> None:
    """Shares sum to 1 and the value matrix is 1 at the start."""
    model = with_two()
    attach(model, HOULSBY, "again")
    restore_state(model, "again", state_of(model, "law"), "law")
    activate(model, "law")
    expected = model(TOKENS).detach()
    attach(model, Spec("fusion", {"adapters": ["law", "again"]}), "both")
    torch.testing.assert_close(model(TOKENS).detach(), expected, atol=1e-12, rtol=1e-12)


def test_only_fusion_trains_in_stage_two() -> None:
    model = with_two()
    before = {name: {k: t.clone() for k, t in state_of(model, name).items()} for name in ("law", "tales")}
    base = {n: p.clone() for n, p in model.named_parameters()}
    attach(model, Spec("fusion", {"adapters": ["law", "tales"]}), "both")
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == 3 * 32 * 32 * 2 * 2  # two sublayers in two blocks
    optimizer, batch, losses = torch.optim.AdamW(trained.values(), lr=0.01), packed(4, 32), []
    model.train()
    for _ in range(15):
        optimizer.zero_grad()
        logits = model(batch.tokens).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, batch.targets.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    held = state_of(model, "both")
    for name, state in before.items():
        for key, tensor in state.items():
            place, leaf = key.rsplit(".", 2)[0], key.rsplit(".", 2)[1:]
            assert torch.equal(held[f"{place}.members.{name}.{'.'.join(leaf)}"], tensor)
            assert torch.equal(state_of(model, name)[key], tensor)
    assert all(torch.equal(p, base[n]) for n, p in model.named_parameters() if n in base)


def test_folders_are_read_once_and_what_is_written_needs_them_no_more(tmp_path: Path) -> None:
    model = with_two()
    sources = {name: written(model, name, tmp_path / name) for name in ("law", "tales")}
    attach(model, Spec("fusion", {"adapters": ["law", "tales"]}), "from-model")
    torch.manual_seed(0)
    from_model = model(TOKENS).detach()
    other = alone()
    attached = attach(other, Spec("fusion", {"adapters": sources}))
    with torch.no_grad():
        for key, tensor in state_of(other, "default").items():
            if ".members." not in key:
                tensor.copy_(state_of(model, "from-model")[key])
    torch.testing.assert_close(other(TOKENS).detach(), from_model, atol=0, rtol=0)

    said = json.loads(json.dumps(attached.spec.write()))
    assert said["adapters"] == {"law": HOULSBY.write(), "tales": PFEIFFER.write()}
    state = {key: tensor.clone() for key, tensor in state_of(other, "default").items()}
    third = alone()
    attach(third, Spec.read(said))
    restore_state(third, "default", state, "its folder")
    assert torch.equal(third(TOKENS), from_model)
    assert len(third.switch.adapters) == 1
    assert {n for n, p in third.named_parameters() if ".members." in n and p.requires_grad} == set()


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    model = with_two()
    law = written(model, "law", tmp_path / "law")
    other = written(model, "tales", tmp_path / "tales", "two")
    with pytest.raises(CheckpointError, match=r"tales: this adapter was trained on another base than .*law; fuse"):
        attach(model, Spec("fusion", {"adapters": {"a": law, "b": other}}), "x")
    with pytest.raises(CheckpointError, match="law: this adapter was trained on another base than the one it is to be"):
        attach(model, Spec("fusion", {"adapters": {"a": law, "b": law}}), "x", base=Base("here", "three"))
    with pytest.raises(CheckpointError, match="holds no adapter of danlu"):
        attach(model, Spec("fusion", {"adapters": {"a": law, "b": str(tmp_path)}}), "x")
    with pytest.raises(ConfigError, match="two or more"):
        attach(model, Spec("fusion", {"adapters": ["law"]}), "x")
    with pytest.raises(ConfigError, match=r"no adapter named 'lav' \(did you mean 'law'"):
        attach(model, Spec("fusion", {"adapters": ["lav", "tales"]}), "x")
    with pytest.raises(ConfigError, match=r"low \(lora\) does not act on what sublayers answer"):
        attach(model, Spec("fusion", {"adapters": {"low": {"use": "lora", "rank": 2}, "law": law}}), "x")
    attach(model, PFEIFFER, "moved", also=["norm"])
    with pytest.raises(ConfigError, match=r"moved: this adapter moved 'norm.weight' of the model itself"):
        attach(model, Spec("fusion", {"adapters": ["law", "moved"]}), "x")
    small = tiny_model(model=16)
    with pytest.raises(CheckpointError, match="has shape"):
        attach(small, Spec("fusion", {"adapters": {"a": law, "b": law}}), "x")
    assert "x" not in model.switch.adapters
    assert not [n for n, _ in model.named_modules() if ".x" in n or "member-" in n]


def test_members_may_act_at_different_places_and_leave_layers_out() -> None:
    """Where one member alone acts its share is 1; one that draws its layers in training acts in all as a member."""
    model = alone()
    some = Spec("drop", {"adapter": {"use": "houlsby", "width": 3}, "first": 1, "random": 1})
    attach(model, some, "late")
    drawn(model, "late")
    for module in model.modules():
        if isinstance(module, Droppable):
            module.drawn.put(2)  # as the last step of its training left it: all layers without
    attach(model, PFEIFFER, "all")
    drawn(model, "all")
    attach(model, Spec("fusion", {"adapters": ["late", "all"]}), "both")
    found = {key.split(".members.")[0] for key in state_of(model, "both") if ".members.late." in key}
    assert found == {"blocks.1.branch.attention", "blocks.1.branch.ffn"}
    told = model(TOKENS).detach()
    assert torch.equal(model.train()(TOKENS), told)
    activate(model, "all")
    first = model.blocks[0].branch["ffn"]
    y = torch.randn(2, 3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first["both"](y, y), first["all"](y, y), atol=1e-12, rtol=1e-12)
