"""Whole runs of adapters that keep more than weights between steps: killed and gone on with, opened again, fused."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from train_tiny import write_recipe

import danlu
import danlu.train
from danlu.core.errors import CheckpointError
from danlu.nn.model import Model
from danlu.peft.attached import state_of

TOKENS = torch.arange(20).view(2, 10)
Go = Callable[..., Path]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains an adapter on a small base, by a recipe; called again it goes on. Answers the run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    training = sys.modules["danlu.train.run"]
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "rate_here", lambda *_: 0.0)  # neither the machine's speed nor a picture is tested here
    patch.setattr(training, "draw", lambda *_: True)
    file = write_recipe(folder / "base", train={"steps": 2, "tokens": 128, "micro": 64, "threads": 1}, hooks=["log"])
    danlu.train.train(file, out=folder / "base-run", quiet=True)
    recipe = yaml.safe_load(file.read_text())
    recipe |= {"base": str(folder / "base-run/final"), "hooks": [{"use": "save", "every": 2, "keep": None}]}
    recipe["train"] = {**recipe["train"], "steps": 6}
    recipe["optim"] = {"use": "adamw", "lr": 0.01}
    for key in ("architecture", "tokenizer"):
        del recipe[key]

    def train(name: str, adapter: dict[str, Any], **changes: Any) -> Path:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**recipe, "adapter": adapter, **changes}))
        danlu.train.train(folder / f"{name}.yaml", out=folder / name, quiet=True)
        return folder / name

    yield train
    patch.undo()


def adapter_of(path: Path) -> dict[str, torch.Tensor]:
    model: Model = danlu.load(str(path))[0]
    return {key: tensor.clone() for key, tensor in state_of(model, "default").items()}


CASES = {
    "drop": {"use": "drop", "adapter": {"use": "pfeiffer", "width": 4}, "random": 1},
    "fisher": {"use": "fisher", "samples": 3, "share": 0.05},
    "select": {"use": "select", "at": "q", "heads": [1]},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_and_gone_on_with(go: Go, case: str) -> None:
    """From its first checkpoint, as if all that came after had never been: the same bits."""
    path = go(case, CASES[case])
    expected = adapter_of(path)
    shutil.rmtree(path / "final")
    (path / "report.json").unlink(missing_ok=True)
    for later in sorted((path / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(later)
    assert go(case, CASES[case]) == path
    found = adapter_of(path)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


@pytest.mark.slow
def test_two_adapters_fused_need_their_folders_no_more(go: Go) -> None:
    law, tales = go("law", {"use": "houlsby", "width": 4}), go("tales", {"use": "pfeiffer", "width": 4})
    members = {"law": str(law), "tales": str(tales / "final")}
    path = go("fused", {"use": "fusion", "adapters": members})
    held, alone = adapter_of(path), adapter_of(law)
    for key, tensor in alone.items():
        place, leaf = key.split(".down.")[0].split(".up.")[0], ".".join(key.split(".")[-2:])
        assert torch.equal(held[f"{place}.members.law.{leaf}"], tensor), "members are as they were trained"
    moved = held["blocks.0.branch.ffn.value.weight"]
    assert not torch.equal(moved, torch.eye(len(moved)))
    answer = danlu.load(str(path))[0](TOKENS)
    for folder in (law, tales):
        shutil.rmtree(folder)
    assert torch.equal(danlu.load(str(path))[0](TOKENS), answer)
    with pytest.raises(CheckpointError, match="holds no adapter of danlu"):
        go("gone", {"use": "fusion", "adapters": members})
