"""A run cut off after any step ends with the same bits, whatever its optimizer, precision and place of memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_tiny import LLAMA, Fixed, packed, tiny_model, write_recipe

import danlu
from danlu.core.errors import ConfigError, DanluError
from danlu.objectives.next_token import NextToken
from danlu.train import state
from danlu.train.optims import OPTIMS
from danlu.train.trainer import Trainer

TRAIN = {"steps": 5, "tokens": 128, "micro": 64, "threads": 1}
WIDE = {**LLAMA, "model": 64, "ffn": 128}
BASE: dict[str, Any] = {
    "architecture": WIDE,
    "hooks": [{"use": "save", "every": 2, "keep": 1}, "log"],
    "schedule": {"use": "cosine", "warmup": 2},
}
FUSED = {"micro": 128, "clip": None, "fused_step": True}
NARROW = {"use": "bf16", "weights": "bf16"}
ALL = ["activations", "optimizer", "parameters"]
OPTIONS: dict[str, dict[str, Any]] = {
    "8 bits": {"optim": {"use": "adamw8bit", "lr": 0.003}},
    "paged, 8 bits, fused": {"optim": {"use": "paged_adamw", "lr": 0.003, "bits": 8}, "train": TRAIN | FUSED},
    "masters, paged": {"train": TRAIN | {"precision": NARROW, "offload": ["optimizer"]}},
    "stochastic, fused": {"train": TRAIN | FUSED | {"precision": NARROW | {"master": False}}},
    "ops, away": {"train": TRAIN | {"recompute": "ops", "offload": ["activations"]}},
    "adapter, all away": {
        "adapter": {"use": "lora", "rank": 4},
        "train": TRAIN | {"recompute": "blocks", "offload": ALL, "precision": NARROW},
    },
}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.run.draw", lambda lines, path: True)


def write(folder: Path, option: str) -> Path:
    return write_recipe(folder, **({"train": TRAIN} | BASE | OPTIONS[option]))


def cut_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power goes when so many updates of this process are through."""
    update, count = Trainer.update, [0]

    def counted(trainer: Trainer, batches: Any) -> Any:
        if count[0] == step:
            raise KeyboardInterrupt
        count[0] += 1
        return update(trainer, batches)

    monkeypatch.setattr(Trainer, "update", counted)


def left(run: Path) -> dict[str, Any]:
    """Weights, the last checkpoint's optimizer, and the losses of each step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = [*(run / "final").rglob("*.safetensors"), last / "danlu" / "optimizer.safetensors"]
    tensors = {f"{file.name}:{key}": value for file in files for key, value in load_file(file).items()}
    return {"tensors": tensors, "losses": [(line["step"], line["loss"]) for line in lines if "loss" in line]}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_cut_off_ends_as_if_it_had_not_been(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path / "recipe", option)
    danlu.train(recipe, out=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        cut_after(3, patch)
        danlu.train(recipe, out=tmp_path / "cut", quiet=True)
    danlu.train(recipe, out=tmp_path / "cut", quiet=True)
    whole, cut = left(tmp_path / "whole"), left(tmp_path / "cut")
    assert whole["losses"] == cut["losses"]
    assert [step for step, _ in whole["losses"]] == list(range(1, 6))
    assert whole["losses"][-1][1] < whole["losses"][0][1]
    assert set(whole["tensors"]) == set(cut["tensors"])
    for name, value in whole["tensors"].items():
        assert torch.equal(value, cut["tensors"][name]), name
    assert not list((tmp_path / "cut").glob(".danlu-*")), "nothing that rested at the host is left in the folder"


def test_bf16_weights_are_saved_in_bf16_with_masters_beside_them(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe", "masters, paged")
    run = danlu.train(recipe, ["train.steps=2"], out=tmp_path / "run", quiet=True)
    saved = left(run.folder)["tensors"]
    masters = {name.removesuffix(":master"): v for name, v in saved.items() if name.endswith(":master")}
    assert masters
    assert {v.dtype for v in masters.values()} == {torch.float32}
    model, tokenizer = danlu.load(run.folder / "final")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert tokenizer
    assert danlu.generate(model, tokenizer, ["the quick"], max_tokens=3)


def test_a_bf16_base_under_an_adapter_answers_after_the_run(tmp_path: Path) -> None:
    """The base stays bf16 and what trains is fp32; the model that a run answers with computes without autocast."""
    recipe = write(tmp_path / "recipe", "adapter, all away")
    run = danlu.train(recipe, ["train.steps=2"], out=tmp_path / "run", quiet=True)
    kept = {n: v.dtype for n, v in left(run.folder)["tensors"].items() if "exp_avg" in n or "lora" in n}
    assert set(kept.values()) == {torch.float32}
    assert danlu.generate(run.model, run.tokenizer, ["the quick"], max_tokens=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.fused_step=true"], "set train.clip: null and train.micro to train.tokens"),
        (["train.offload=[parameters]"], "this run has none; add an adapter"),
        (["train.offload=[gradients]"], "offload.*gradients.*activations, optimizer"),
        (["train.recompute=all"], "blocks, keep, none, ops"),
        (["train.precision={use: bf16, weights: fp8}"], "fp32 or bf16"),
        (["train.precision={use: bf16, master: false}"], "their own masters"),
    ],
)
def test_mistakes_are_one_sentence(changes: list[str], words: str, tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe", "8 bits")
    with pytest.raises(ConfigError, match=words):
        danlu.train(recipe, changes, out=tmp_path / "run", quiet=True)


def test_another_optimizer_cannot_go_on(tmp_path: Path) -> None:
    """A checkpoint of 32-bit states under a trainer of 8-bit ones: one sentence, and nothing is overwritten."""
    first, second = (
        Trainer(tiny_model(model=64, ffn=128), NextToken(), Fixed(packed(3, 24)), OPTIMS[name]())
        for name in ("adamw", "adamw8bit")
    )
    first.fit(1)
    with pytest.raises(DanluError, match=r"the optimizer's exp_avg of .* go on with the optimizer"):
        state.restore_optimizer(second, state.optimizer_tensors(first), "here")
