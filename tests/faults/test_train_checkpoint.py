"""Damaged, half-written and impossible checkpoints: refused by name, and the one before serves."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from train_tiny import write_recipe

import danlu
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.files import sha256
from danlu.train.run import train

HOOKS = [{"use": "save", "every": 4, "keep": 3}, "log"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and ``whole``: a run of 12 steps with checkpoints at 4, 8 and 12."""
    folder = tmp_path_factory.mktemp("run")
    train(write_recipe(folder, hooks=HOOKS), out=folder / "whole", quiet=True)
    return folder


@pytest.fixture
def unfinished(run: Path, tmp_path: Path) -> Path:
    """The run as a kill just before its end leaves it."""
    out = tmp_path / "out"
    shutil.copytree(run / "whole", out)
    shutil.rmtree(out / "final")
    (out / "report.json").unlink()
    return out


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "danlu/optimizer.safetensors", "danlu/state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_serves(
    run: Path, unfinished: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(unfinished / "checkpoints" / "step-000012" / name)
    train(run / "tiny.yaml", out=unfinished, quiet=True)
    log = (unfinished / "log.txt").read_text()
    assert "step-000012" in log
    assert "passed over" in log
    assert "going on after step 8 of 12" in log
    assert sha256(unfinished / "final" / "model.safetensors") == sha256(run / "whole" / "final" / "model.safetensors")
    steps = [json.loads(line)["step"] for line in (unfinished / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_half_a_folder_is_no_checkpoint_and_is_removed(run: Path, unfinished: Path) -> None:
    checkpoints = unfinished / "checkpoints"
    (checkpoints / "step-000012").rename(checkpoints / ".step-000012.99.tmp")
    train(run / "tiny.yaml", out=unfinished, quiet=True)
    assert "removed .step-000012.99.tmp" in (unfinished / "log.txt").read_text()
    assert sorted(p.name for p in checkpoints.iterdir()) == ["step-000004", "step-000008", "step-000012"]


def test_nothing_is_pickled(run: Path) -> None:
    kinds = {path.suffix for path in (run / "whole").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".jsonl", ".safetensors", ".yaml", ".txt", ".png"}


def test_a_checkpoint_is_a_model_directory(run: Path) -> None:
    model, tokenizer = danlu.load(run / "whole" / "checkpoints" / "step-000012")
    final, _ = danlu.load(run / "whole" / "final")
    assert tokenizer is not None
    assert all((a == b).all() for a, b in zip(model.parameters(), final.parameters(), strict=True))


def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_to_do(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danlu.train import checkpoint

    real, calls = checkpoint.save_file, []

    def full(tensors: object, path: Path) -> None:
        calls.append(path)
        if "step-000008" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(tensors, path)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"step-000008: the disk is full.*\(step 4 is intact\); free some space"):
        train(run / "tiny.yaml", out=tmp_path / "out", quiet=True)
    assert [p.name for p in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-000004"]
    monkeypatch.undo()
    train(run / "tiny.yaml", out=tmp_path / "out", quiet=True)
    assert sha256(tmp_path / "out/final/model.safetensors") == sha256(run / "whole/final/model.safetensors")


@pytest.mark.slow
def test_a_limit_on_file_sizes_ends_the_command_with_one_sentence(run: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a disk that is full: no file may exceed 20 kB, and the optimizer's state does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    shutil.copytree(run / "data", tmp_path / "data")
    command = [sys.executable, "-m", "danlu", "train", str(run / "tiny.yaml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "the disk is full, so this checkpoint was not written" in done.stderr.replace("\n", " ")
    assert not list((tmp_path / "out" / "checkpoints").iterdir())


def test_another_recipe_is_refused_by_key_unless_fresh(run: Path, unfinished: Path) -> None:
    with pytest.raises(ConfigError, match=r"optim.lr = 0.003, and now it is 0.004; give another --out, or --fresh"):
        train(run / "tiny.yaml", ["optim.lr=0.004"], out=unfinished, quiet=True)
    done = train(run / "tiny.yaml", ["optim.lr=0.004", "train.steps=2"], out=unfinished, quiet=True, resume=False)
    assert done.report["steps"] == 2
    assert [p.name for p in (unfinished / "checkpoints").iterdir()] == ["step-000002"]


def test_a_mistake_in_the_recipe_is_corrected_without_more_ado(run: Path, tmp_path: Path) -> None:
    """A run that ended before its first step holds nothing to lose."""
    with pytest.raises(ConfigError, match="warmup"):
        train(run / "tiny.yaml", ["schedule.warmup=2.5"], out=tmp_path / "out", quiet=True)
    assert train(run / "tiny.yaml", ["train.steps=1"], out=tmp_path / "out", quiet=True).report["steps"] == 1


def test_a_finished_run_is_not_run_again(run: Path) -> None:
    before = sha256(run / "whole" / "metrics.jsonl")
    done = train(run / "tiny.yaml", out=run / "whole", quiet=True)
    assert done.report["steps"] == 12
    assert len(done.metrics) == 12
    assert "is finished" in (run / "whole" / "log.txt").read_text()
    assert sha256(run / "whole" / "metrics.jsonl") == before
