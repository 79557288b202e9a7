"""Faults planted in a known layer, row and batch: named, rewound, skipped; and given up on with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from train_tiny import Fixed, packed, tiny_model, write_recipe

from danlu.core.errors import DanluError
from danlu.models import Stack
from danlu.objectives.next_token import NextToken
from danlu.tokenize import Tokenizer
from danlu.train import run as running
from danlu.train.blame import blame
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.sgd import Sgd
from danlu.train.trainer import Trainer

HOOKS = [{"use": "save", "every": 3, "keep": 2}, "log", {"use": "rescue", "window": 4, "retries": 2}]


class Planted(nn.Module):
    """Passes x on, and multiplies rows in which ``tokens`` holds the poisoned id by a factor."""

    def __init__(self, model: Stack, poison: int, factor: float) -> None:
        super().__init__()
        self.poison, self.factor, self.hit = poison, factor, torch.zeros(0)
        model.embed.register_forward_pre_hook(self._look)

    def _look(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.hit = (inputs[0] == self.poison).any(-1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.where(self.hit, self.factor, 1.0)[:, None, None]


def plant(model: Stack, poison: int, factor: float) -> Stack:
    planted = Planted(model, poison, factor)
    model.blocks[1].register_forward_hook(lambda module, inputs, output: planted(output))
    return model


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_layer_and_row_are_named(poison: float) -> None:
    batches = [packed(4, 24, vocab=39, seed=seed) for seed in range(3)]
    batches[2].tokens[1, 5] = 39
    trainer = Trainer(plant(tiny_model(), 39, poison), NextToken(), Fixed(*batches), Sgd(lr=0.01), micro=2)
    with pytest.raises(DanluError, match="step 3"):
        trainer.fit(5)
    assert blame(trainer) == "blocks.1 is the first layer whose output is not finite, for row 1 of batch 2"


def test_an_exploding_row_is_named() -> None:
    batch = packed(4, 24, vocab=39)
    batch.tokens[3, 0] = 39
    model = tiny_model()
    model.head.register_forward_hook(lambda module, inputs, output: output * 1000 if planted.hit.any() else output)
    planted = Planted(model, 39, 1.0)
    trainer = Trainer(model, NextToken(), Fixed(batch), Sgd(lr=0.0), clip=None)
    trainer.fit(1)
    assert "row 3 of batch 0 has the highest loss" in blame(trainer)
    assert blame(trainer).startswith("head has the largest output")


def poisoned(folder: Path, monkeypatch: pytest.MonkeyPatch, factor: float, every: int) -> Path:
    """A run whose documents hold a rare character now and then, which the model cannot bear."""
    path = write_recipe(folder, hooks=HOOKS, train={"steps": 14, "tokens": 64, "micro": 32, "threads": 1})
    lines = (folder / "text.jsonl").read_text().splitlines()
    if every:
        lines = [line.replace('": "', '": "€ ') if i % every == 7 else line for i, line in enumerate(lines)]
    (folder / "text.jsonl").write_text("\n".join(lines) + "\n")
    real = running.origin

    def origin(recipe: object) -> tuple[Stack, Tokenizer]:
        model, tokenizer = real(recipe)  # type: ignore[arg-type]
        return plant(model, tokenizer.encode("€")[0], factor), tokenizer

    monkeypatch.setattr(running, "origin", origin)
    monkeypatch.setattr(running, "rate_here", lambda *_: 0.0)
    return path


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_run_goes_back_skips_the_batch_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    done = running.train(poisoned(tmp_path, monkeypatch, factor, 50), out=tmp_path / "out", quiet=True)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "blocks.1 is the first layer whose output is not finite" in log
    assert "going back to the last checkpoint and skipping batches" in log
    assert done.report["skipped_batches"]
    assert done.report["steps"] == 14
    steps = [line["step"] for line in done.metrics]
    assert steps == list(range(1, 15))
    assert all(bool(torch.isfinite(p).all()) for p in done.model.parameters())


def test_a_rescued_run_killed_and_resumed_skips_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = poisoned(tmp_path, monkeypatch, float("nan"), 50)
    whole = running.train(recipe, out=tmp_path / "whole", quiet=True)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(running._Work, "close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            running.train(recipe, out=out, quiet=True)
    (newest := sorted((out / "checkpoints").iterdir())[-1]).rename(newest.with_name(".lost.tmp"))
    again = running.train(recipe, out=out, quiet=True)
    assert again.report["skipped_batches"] == whole.report["skipped_batches"]
    assert [line["loss"] for line in again.metrics] == [line["loss"] for line in whole.metrics]
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_retries_are_bounded_and_the_error_names_layer_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = poisoned(tmp_path, monkeypatch, float("nan"), 0)
    text = (tmp_path / "text.jsonl").read_text()
    (tmp_path / "text.jsonl").write_text(text.replace('": "', '": "€ '))
    with pytest.raises(DanluError, match=r"step 1: .*blocks.1 is the first layer .* gave up after 2 rescues in a row"):
        running.train(recipe, out=tmp_path / "out", quiet=True)
    assert "nan" not in (tmp_path / "out" / "metrics.jsonl").read_text()


def test_an_exploding_loss_is_rewound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer is struck by a wild step: the next loss explodes, and the run goes back before it."""
    recipe = poisoned(tmp_path, monkeypatch, 1.0, 50)
    real, struck = Trainer._move, []

    def move(trainer: Trainer, divisor: float, norm: float) -> None:
        if trainer.step == 7 and not struck:
            struck.append(norm)
            for group in trainer.optimizer.param_groups:
                group["lr"] = 30.0
        real(trainer, divisor, norm)

    monkeypatch.setattr(Trainer, "_move", move)
    done = running.train(recipe, out=tmp_path / "out", quiet=True)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "was usual" in log
    assert "has the largest output" in log
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 14
    assert max(losses) < 8
    assert done.report["skipped_batches"] == [8]


def test_an_optimizer_over_nothing_finite_never_moved() -> None:
    """Even AdamW's state stays clean: a poisoned step leaves no trace in its running means."""
    batches = [packed(2, 24, vocab=39, seed=1), packed(2, 24, vocab=39, seed=2)]
    batches[1].tokens[0, 0] = 39
    trainer = Trainer(plant(tiny_model(), 39, float("nan")), NextToken(), Fixed(*batches), AdamW())
    with pytest.raises(DanluError):
        trainer.fit(2)
    state = [value for slots in trainer.optimizer.state.values() for value in slots.values()]
    assert all(bool(torch.isfinite(value).all()) for value in state)
    assert {float(slots["step"]) for slots in trainer.optimizer.state.values()} == {1.0}
