"""A process that trains in children and kills them; prints what the runs left behind as JSON.

python train_killed.py FOLDER SCENARIO…      scenarios are names of functions below, or numbers of file operations

Children are forked before torch has started a thread, so every attempt costs a run and not an import.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from train_tiny import tiny_model, write_recipe

import danlu.train
from danlu.core.files import sha256

HOOKS = [{"use": "save", "every": 2, "keep": 2}, {"use": "evaluate", "every": 3}, "log", {"use": "rescue"}]
CHANGES = {
    "architecture": {"use": "llama", "model": 32, "layers": 2, "heads": 4, "context": 64},
    "train": {"steps": 15, "tokens": 192, "micro": 64, "threads": 1, "ramp": [[9, 2]]},
    "hooks": HOOKS,
}


def child(work) -> int:
    """Runs ``work`` in a fork; its process id."""
    if pid := os.fork():
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    """0, an exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(recipe: Path, out: Path) -> None:
    training = sys.modules["danlu.train.run"]
    training.rate_here = lambda *_: 0.0  # neither the machine's speed nor a picture is what is tested here
    training.draw = lambda *_: True
    danlu.train.train(recipe, out=out, quiet=True)


def killed_at_operation(number: int, recipe: Path, out: Path) -> None:
    """Counts the writes, renames and removals of saving, and dies just before the given one."""
    seen = 0

    def counted(module, name: str) -> None:
        real = getattr(module, name)

        def step(*arguments, **settings):
            nonlocal seen
            if "checkpoints" in str(arguments[0]) or "step-" in "".join(map(str, arguments)):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **settings)

        setattr(module, name, step)

    import shutil

    for module, name in ((os, "replace"), (os, "rename"), (shutil, "rmtree")):
        counted(module, name)
    run(recipe, out)


def left(out: Path) -> dict:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [[line[key] for key in ("step", "loss", "norm", "lr", "tokens")] for line in lines if "loss" in line]
    held = [[line["step"], line["held_out_loss"]] for line in lines if "held_out_loss" in line]
    checkpoints = sorted(path.name for path in (out / "checkpoints").iterdir())
    last = out / "checkpoints" / checkpoints[-1]
    optimizer = sha256(last / "danlu" / "optimizer.safetensors")
    state = json.loads((last / "danlu" / "state.json").read_text())
    return {
        "weights": sha256(out / "final" / "model.safetensors"),
        "trained": trained,
        "held": held,
        "checkpoints": checkpoints,
        "optimizer": optimizer,
        "state": state,
    }


def main(folder: Path, operations: list[int]) -> None:
    recipe = write_recipe(folder, **CHANGES)
    danlu.train.optims.OPTIMS["adamw"]().over(
        tiny_model().named_parameters()
    )  # what torch imports late, before forking
    assert ended(child(lambda: run(recipe, folder / "whole"))) == 0
    found = {"whole": left(folder / "whole")}
    for number in operations:
        out = folder / f"operation-{number}"
        code = ended(child(lambda number=number, out=out: killed_at_operation(number, recipe, out)))
        assert ended(child(lambda out=out: run(recipe, out))) == 0, f"did not go on after operation {number}"
        found[out.name] = {"code": code, **left(out)}
    found["any time"] = any_time(recipe, folder / "any")
    print(json.dumps(found))


def any_time(recipe: Path, out: Path) -> dict:
    """Killed from outside again and again, each time a little later, until the run is through."""
    kills, patience = 0, 0.15
    while True:
        pid = child(lambda: run(recipe, out))
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not (gone := os.waitpid(pid, os.WNOHANG))[0]:
            time.sleep(0.01)
        if gone[0]:
            assert os.waitstatus_to_exitcode(gone[1]) == 0
            return {"kills": kills, **left(out)}
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills, patience = kills + 1, patience * 1.15


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
