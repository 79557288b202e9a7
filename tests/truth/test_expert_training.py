"""Runs of models with experts: what is reported, what is frozen, and that a run goes on as if it had never stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import Fixed, packed, write_recipe

import danlu
from danlu.core.spec import Spec
from danlu.models import build
from danlu.objectives.next_token import NextToken
from danlu.train.optims.adamw import AdamW
from danlu.train.run import train
from danlu.train.trainer import Trainer

SIZES = {"use": "decoder", "model": 32, "layers": 2, "heads": 4, "context": 64, "width": 24}
MOE = {
    "use": "moe",
    "experts": 4,
    "router": {"use": "noisy", "balance": 0.1, "z": 0.01},
    "capacity": 0.75,
    "dropout": 0.1,
    "shared": 1,
    "bias": True,
    "frozen": [2],
}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_tells_its_routing_and_goes_on_bit_by_bit(tmp_path) -> None:
    """Noise, dropout, capacity, frozen experts and running statistics of a norm, stopped and gone on with."""
    recipe = write_recipe(tmp_path, architecture={**SIZES, "ffn": MOE, "norm": "batch"})
    train(recipe, out=tmp_path / "whole", quiet=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/final")
    for step in (8, 12):
        shutil.rmtree(tmp_path / f"stopped/checkpoints/step-{step:06d}", ignore_errors=True)
    (tmp_path / "stopped/report.json").unlink()
    shutil.copytree(tmp_path / "whole/checkpoints/step-000008", tmp_path / "stopped/checkpoints/step-000008")
    train(recipe, out=tmp_path / "stopped", quiet=True)
    whole, again = lines(tmp_path / "whole"), lines(tmp_path / "stopped")
    told = ("loss", "balance", "router_z", "busiest_expert", "dropped_choices")
    steps = [line for line in whole if "balance" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [[line[name] for name in told] for line in again if "balance" in line] == [
        [line[name] for name in told] for line in steps
    ]
    assert all(0.25 <= line["busiest_expert"] <= 1 and 0 < line["dropped_choices"] < 1 for line in steps)
    models = [danlu.load(tmp_path / name / "final")[0] for name in ("whole", "stopped")]
    for (name, a), b in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert models[0].get_buffer("norm.mean").any()


def test_frozen_experts_do_not_move_though_all_weights_decay() -> None:
    model = build(Spec.read({**SIZES, "ffn": MOE}), vocab=40)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = packed(4, 24)
    trainer = Trainer(model.train(), NextToken(), Fixed(batch), AdamW(lr=0.01, weight_decay=0.5))
    for _ in range(2):
        trainer.update([batch])
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    names = {f"{part}.frozen{bias}" for part in ("up", "gate", "down") for bias in ("", "_bias")}
    assert still == {f"blocks.{layer}.sublayers.ffn.{name}" for layer in (0, 1) for name in names}


def test_stacked_biases_do_not_decay() -> None:
    from danlu.train.optims import groups

    model = build(Spec.read({**SIZES, "ffn": MOE}), vocab=40)
    decaying = {id(p) for p in groups(list(model.named_parameters()), 0.1)[0]["params"]}  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert (id(parameter) in decaying) == (parameter.ndim >= 2 and not name.endswith("bias")), name


@pytest.mark.parametrize("recompute", [False, True])
def test_recomputed_blocks_have_the_same_gradients_and_tell_the_same(recompute) -> None:
    gradients = []
    for recomputed in (False, recompute):
        model = build(Spec.read({**SIZES, "ffn": {**MOE, "dropout": 0.0}}), vocab=40).train()
        model.recompute = recomputed
        torch.manual_seed(0)
        loss = NextToken().loss(model, packed(4, 24))
        loss.total.backward()
        gradients.append((loss.metrics, {name: p.grad for name, p in model.named_parameters()}))
    assert gradients[0][0] == gradients[1][0]
    for name, grad in gradients[0][1].items():
        if grad is not None:
            torch.testing.assert_close(gradients[1][1][name], grad, msg=name)
