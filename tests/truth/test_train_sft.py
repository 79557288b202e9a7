"""From a base trained on plain text to answers: tuning lowers the loss of answers that were held out."""

from __future__ import annotations

import itertools
import json

import pytest
import yaml
from train_tiny import WORDS, write_recipe

from danlu.train.run import Run, train

BASE = {"architecture": {"use": "llama", "model": 64, "layers": 2, "heads": 4, "context": 64}}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """240 conversations "say A B" → "B A"; one in eight is held out."""
    folder = tmp_path_factory.mktemp("sft")
    base = train(write_recipe(folder, **BASE, hooks=["log"]), ["train.steps=30"], out=folder / "base", quiet=True)
    pairs = itertools.islice(itertools.permutations(WORDS, 2), 240)
    rows = [
        [{"role": "user", "content": f"say {a} {b}"}, {"role": "assistant", "content": f"{b} {a}"}] for a, b in pairs
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    recipe = {
        "base": str(base.folder / "final"),
        "data": {
            "parts": [{"from": str(folder / "chat.jsonl")}],
            "pack": {"length": 64},
            "held_out": {"share": 0.125},
            "cache": str(folder / "data"),
        },
        "train": {"epochs": 12, "tokens": 512, "micro": 512, "threads": 1},
        "optim": {"use": "adamw", "lr": 0.005},
        "hooks": [{"use": "evaluate", "every": 1000}, "log"],
    }
    (folder / "sft.yaml").write_text(yaml.safe_dump(recipe))
    return train(folder / "sft.yaml", out=folder / "tuned", quiet=True)


@pytest.mark.slow
def test_the_loss_of_held_out_answers_falls(tuned: Run) -> None:
    held = tuned.report["held_out_loss"]
    assert held["after"] < 0.5 * held["before"]


@pytest.mark.slow
def test_epochs_are_rows_seen(tuned: Run) -> None:
    """12 epochs of the stock's rows, 8 rows a step."""
    rows = tuned.report["data"]["train"]["rows"]
    assert tuned.report["steps"] == -(-12 * rows // 8)


@pytest.mark.slow
def test_the_tuned_model_carries_its_bases_tokenizer(tuned: Run) -> None:
    import danlu

    _, tokenizer = danlu.load(tuned.folder / "final")
    assert tokenizer is not None
    assert tokenizer.fingerprint() == tuned.tokenizer.fingerprint()
