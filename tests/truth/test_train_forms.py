"""Whole runs of models that are not stacks: trained, evaluated, saved, resumed, spoken with."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_tiny import write_recipe

import danlu
from danlu import generate, load
from danlu.train import train

FORMS = {
    "lstm": {"architecture": {"use": "recurrent", "model": 32, "layers": 2, "context": 64}},
    "rnn": {"architecture": {"use": "recurrent", "cell": "rnn", "model": 32, "layers": 1, "context": 64}},
    "t5": {
        "architecture": {"use": "t5", "model": 32, "layers": 1, "heads": 4, "context": 64},
        "objective": {"use": "spans", "sentinels": 12, "share": 0.3},
    },
    "transformer": {
        "architecture": {"use": "transformer", "model": 32, "layers": 1, "heads": 4, "context": 64},
        "objective": {"use": "spans", "sentinels": 12, "share": 0.3},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_of_this_form(form, tmp_path: Path) -> None:
    """Its loss falls, its plan stands in the report, and what it left speaks and goes on where it was stopped."""
    path = write_recipe(tmp_path, **FORMS[form])
    out = tmp_path / "run"
    run = train(path, ["train.steps=30", "optim.lr=0.01"], out=out, quiet=True)
    losses = [line["loss"] for line in run.metrics if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    assert run.report["held_out_loss"]["after"] < run.report["held_out_loss"]["before"]
    assert run.report["planned"]["peak_bytes"] > 16 * run.report["parameters"]
    assert run.report["parameters"] == sum(p.numel() for p in run.model.parameters())
    model, tokenizer = load(out)
    assert tokenizer is not None
    assert len(generate(model, tokenizer, ["the quick"], max_tokens=8, stop_ids=())[0].tokens) == 8


@pytest.mark.parametrize("form", FORMS)
def test_it_is_planned_before_it_runs(form, tmp_path: Path) -> None:
    plan = danlu.plan(write_recipe(tmp_path, **FORMS[form]))  # type: ignore[operator]
    assert plan.fits
    assert plan.memory.phases.keys() >= {"load", "loss", "backward", "step"}, "the step of every form is traced"
