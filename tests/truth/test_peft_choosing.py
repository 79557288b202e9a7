"""Adapters that only choose what trains: counts in closed form, everything else equal bit by bit, and where backward ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.model import Model
from danlu.nn.sites import own
from danlu.nn.storages import STORAGES, store
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach, switch_of
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.sgd import Sgd
from danlu.train.trainer import Trainer

M, F, H, D = 32, 88, 4, 8


def gpt2(**changes: Any) -> Model:
    settings = {"model": M, "layers": 3, "heads": H, "context": 32, "ffn": F} | changes
    return build(Spec("gpt2", settings), vocab=40, seed=1)


def llama(**changes: Any) -> Model:
    return tiny_model(layers=3, ffn=F, **changes)


def trained(model: Model, use: str, optim: Any = None, steps: int = 4, **settings: Any) -> dict[str, torch.Tensor]:
    """Which numbers moved in a few steps of AdamW with much weight decay, by name."""
    before = {n: t.detach().clone() for n, t in own(model)}
    attach(model, Spec(use, settings))
    tending = switch_of(model).adapters["default"].adapter.tending(model, "default", steps)
    optim = optim or AdamW(lr=1e-2, weight_decay=0.5)
    Trainer(model, NextToken(64, None), Fixed(packed(4, 32)), optim, tending=tending).fit(steps)
    return {n: t != before[n] for n, t in own(model) if not torch.equal(t, before[n])}


def counted(model: Model) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_bitfit_trains_every_bias_and_nothing_else() -> None:
    model = gpt2()
    moved = trained(model, "bitfit")
    a_block = (3 * M + M) + (F + M) + 2 * M  # q k v o, up down, two norms
    assert counted(model) == 3 * a_block + M  # and the final norm
    biases = {n for n, _ in own(model) if n.endswith(".bias")}
    keys = {n for n in biases if n.endswith(".k.bias")}  # a bias of keys moves no score: its gradient is rounding
    assert biases - keys <= set(moved) <= biases


def test_norms_only_trains_scales_and_shifts() -> None:
    model = gpt2()
    assert set(trained(model, "norms_only")) == {
        *(
            f"blocks.{b}.norms.{s}.{leaf}"
            for b in range(3)
            for s in ("attention", "ffn")
            for leaf in ("weight", "bias")
        ),
        *("norm.weight", "norm.bias"),
    }
    assert counted(model) == (2 * 3 + 1) * 2 * M
    model = llama()
    attach(model, Spec("norms_only"))
    assert counted(model) == (2 * 3 + 1) * M
    model = build(Spec("qwen3", {"model": M, "layers": 2, "heads": H, "context": 32}), vocab=40)
    attach(model, Spec("norms_only"))
    head = model.blocks[0].sublayers.attention.head
    assert counted(model) == (2 * 2 + 1) * M + 2 * 2 * head, "norms of queries and keys too"


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_last_layers_with_final_norm_and_head(layers: int) -> None:
    model = llama()
    moved = trained(model, "last_layers", layers=layers)
    kept_in = [
        n
        for n, _ in own(model)
        if not n.startswith(tuple(f"blocks.{b}." for b in range(3 - layers))) and n != "embed.weight"
    ]
    assert set(moved) == set(kept_in)
    a_block = 4 * M * M + 3 * M * F + 2 * M
    assert counted(model) == layers * a_block + M + 40 * M
    entering: list[bool] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: entering.append(given[0].requires_grad))
    model(packed(1, 8).tokens)
    assert entering == [b > 3 - layers for b in range(3)], "nothing is kept for backward below"


def test_a_tied_head_stays_unless_it_is_asked_for() -> None:
    model = gpt2()
    assert model.head.weight is model.embed.weight
    attach(model, Spec("last_layers", {"layers": 1}))
    assert not model.embed.weight.requires_grad
    model = gpt2()
    found = attach(model, Spec("last_layers", {"layers": 1}), also=["embed"])
    assert "embed.weight" in found.trains
    assert "head.weight" not in found.trains


def test_last_layers_of_other_forms() -> None:
    model = build(Spec("t5", {"model": 16, "layers": 2, "heads": 2}), vocab=40)
    attach(model, Spec("last_layers"))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert {".".join(n.split(".")[:3]) for n in names} <= {
        "decoder.blocks.1",
        "decoder.norm.weight",
        "decoder.head.weight",
    }
    model = build(Spec("recurrent", {"model": 16, "layers": 2, "context": 32}), vocab=40)
    attach(model, Spec("last_layers"))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        f"cells.1.{w}_{s}_l0" for w in ("weight", "bias") for s in ("ih", "hh")
    }


def test_select_by_pattern() -> None:
    moved = trained(llama(), "select", at=["blocks.{0,2}.*.q", "blocks.1.sublayers.ffn.*", "norm"])
    assert set(moved) == {
        *(f"blocks.{b}.sublayers.attention.q.weight" for b in (0, 2)),
        *(f"blocks.1.sublayers.ffn.{m}.weight" for m in ("gate", "up", "down")),
        "norm.weight",
    }  # fmt: skip


@pytest.mark.parametrize("optim", [AdamW(lr=1e-2, weight_decay=0.5), Sgd(lr=0.1, momentum=0.9, weight_decay=0.5)])
def test_select_rows_and_heads_leaves_the_others_bit_by_bit(optim: Any) -> None:
    """With weight decay and momentum, which act on all of a parameter."""
    rows = trained(gpt2(), "select", optim, at="blocks.1.*.up", rows=[0, 5])
    assert set(rows) == {"blocks.1.sublayers.ffn.up.weight", "blocks.1.sublayers.ffn.up.bias"}
    for changed in rows.values():
        assert {int(row) for row in changed.nonzero()[:, 0]} == {0, 5}
    assert rows["blocks.1.sublayers.ffn.up.weight"][[0, 5]].all()

    heads = trained(gpt2(), "select", optim, at="blocks.2.*.{q,v,o}", heads=[1, 3])
    place = "blocks.2.sublayers.attention"
    inside = torch.zeros(M, dtype=torch.bool)
    inside[8:16] = inside[24:32] = True
    for leaf in ("q.weight", "q.bias", "v.weight", "v.bias"):
        changed = heads[f"{place}.{leaf}"]
        assert torch.equal(changed.flatten(1).any(1) if changed.ndim > 1 else changed, inside), leaf
    assert torch.equal(heads[f"{place}.o.weight"].any(0), inside), "columns of o"
    assert f"{place}.o.bias" not in heads


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="this llama has no biases; train its norms with adapter: norms_only"):
        attach(llama(), Spec("bitfit"))
    with pytest.raises(ConfigError, match="this recurrent has no normalizations"):
        attach(build(Spec("recurrent", {"model": 16, "layers": 1, "context": 32}), vocab=40), Spec("norms_only"))
    with pytest.raises(ConfigError, match="this model has 3 layers, found layers: 4"):
        attach(llama(), Spec("last_layers", {"layers": 4}))
    with pytest.raises(ConfigError, match="the layers of this albert share their weights"):
        attach(
            build(Spec("albert", {"model": 32, "layers": 3, "heads": 4, "context": 32}), vocab=40), Spec("last_layers")
        )
    with pytest.raises(ConfigError, match=r"no parameter is named like 'blocks\.\*\.que'; the nearest are"):
        attach(llama(), Spec("select", {"at": "blocks.*.que"}))
    with pytest.raises(ConfigError, match=r"q.weight has heads 0 to 3, found \[4\]"):
        attach(llama(), Spec("select", {"at": "q", "heads": [4]}))
    with pytest.raises(ConfigError, match="rows or heads, not both"):
        attach(llama(), Spec("select", {"at": "q", "heads": [1], "rows": [1]}))


@pytest.mark.parametrize("use", ["last_layers", "select", "fisher"])
def test_weights_kept_in_a_storage_do_not_train(use: str) -> None:
    model = llama()
    store(model, Spec("int8").build(STORAGES))
    with pytest.raises(ConfigError, match=r"is kept as .*, which cannot train; strike storage"):
        attach(model, Spec(use))
