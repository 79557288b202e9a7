"""A process that trains adapters in children and kills them; prints what the runs left behind as JSON.

python adapters_killed.py FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from train_killed import CHANGES, child, ended, killed_at_operation, run
from train_tiny import write_recipe

from danlu.core.files import sha256

METHODS = {
    "lora": {"adapter": {"use": "lora", "rank": 4, "dropout": 0.1}, "also_train": ["embed", "head"]},
    "relora": {"adapter": {"use": "relora", "rank": 4, "every": 4, "warmup": 2}},
    "adalora": {"adapter": {"use": "adalora", "rank": 2, "initial": 4, "interval": 2, "phases": [2, 2]}},
}
MIDWAY = 5  # lines of metrics
TRAIN = {"steps": 9, "tokens": 128, "micro": 64, "threads": 1}


def left(out: Path) -> dict:
    """What is comparable of a run: every file of the adapter's folder and of the last checkpoint."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [[line[key] for key in ("step", "loss", "norm", "lr", "tokens")] for line in lines if "loss" in line]
    checkpoints = sorted(path.name for path in (out / "checkpoints").iterdir())
    folders = {"final": out / "final", "last": out / "checkpoints" / checkpoints[-1]}
    files = {
        f"{place}/{file.relative_to(folder)}": sha256(file)
        for place, folder in folders.items()
        for file in sorted(folder.rglob("*.safetensors"))
    }
    return {"trained": trained, "checkpoints": checkpoints, "files": files}


def in_a_save(recipe: Path, out: Path) -> int:
    """Dies while a checkpoint is written, and an earlier one is there."""
    return ended(child(partial(killed_at_operation, 26, recipe, out)))


def midway(recipe: Path, out: Path) -> int:
    """Killed from outside between two steps or in one, after half of them."""
    pid = child(partial(run, recipe, out))
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > MIDWAY):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return ended(pid)


def main(folder: Path) -> None:
    begun = write_recipe(folder / "base", **{**CHANGES, "train": {**TRAIN, "steps": 2}})
    assert ended(child(lambda: run(begun, folder / "base" / "run"))) == 0
    base = {"architecture": None, "base": str(folder / "base" / "run" / "final")}
    print(json.dumps({name: cases(folder / name, {**CHANGES, **base, **more}) for name, more in METHODS.items()}))


def cases(folder: Path, changes: dict) -> dict:
    recipe = write_recipe(folder, **{**changes, "train": TRAIN})
    assert ended(child(lambda: run(recipe, folder / "whole"))) == 0
    found = {"whole": left(folder / "whole")}
    for kill in (in_a_save, midway):
        out = folder / kill.__name__
        code = kill(recipe, out)
        assert ended(child(partial(run, recipe, out))) == 0, f"did not go on: {kill.__name__}"
        resumed = "going on after step" in (out / "log.txt").read_text()
        found[kill.__name__] = {"code": code, "resumed": resumed, **left(out)}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
