"""The folder of a run: what it was asked to do, what happened, and whether it may go on."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..core import config
from ..core.errors import ConfigError
from ..core.files import read_json, write_json, write_text
from .ledger import Ledger
from .recipe import Recipe

RECIPE, REPORT = "recipe.yaml", "report.json"


class Folder:
    """runs/<name>/: recipe.yaml, metrics.jsonl, log.txt, curves.png, report.json, checkpoints/, final/."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self.path, self.quiet = path, quiet

    @classmethod
    def open(cls, path: Path, recipe: Recipe, *, resume: bool, quiet: bool) -> Folder:
        """A new folder, or one whose run may go on; raises ConfigError if it holds another run."""
        folder = cls(path, quiet=quiet)
        if not resume:
            folder.clear()
        if folder.begun:
            folder._check(recipe)
        else:
            write_text(path / RECIPE, f"# resolved by {_versions()}\n{config.dump(recipe)}")
        folder.ledger = Ledger(path / "metrics.jsonl")
        return folder

    ledger: Ledger

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def begun(self) -> bool:
        """Whether there is something to lose: a recipe alone, of a run that ended in an error at once, is not."""
        metrics = self.path / "metrics.jsonl"
        trained = self.checkpoints.exists() or self.final.exists() or (metrics.exists() and metrics.stat().st_size > 0)
        return trained and (self.path / RECIPE).exists()

    @property
    def finished(self) -> bool:
        return (self.path / REPORT).exists() and self.final.is_dir()

    @property
    def report(self) -> dict[str, Any]:
        return read_json(self.path / REPORT, "a run's report")

    def note(self, sentence: str) -> None:
        """A line in log.txt, and on the screen unless the run is quiet."""
        with open(self.path / "log.txt", "a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {sentence}\n")
        if not self.quiet:
            from rich.console import Console

            Console(stderr=True, soft_wrap=True).print(sentence, markup=False, highlight=False)

    def finish(self, report: dict[str, Any]) -> None:
        """Written last: it is what makes a run finished."""
        write_json(self.path / REPORT, report)

    def clear(self) -> None:
        """Removes what a run wrote here, and nothing else."""
        for name in ("checkpoints", "final", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (RECIPE, REPORT, "metrics.jsonl", "log.txt", "curves.png"):
            (self.path / name).unlink(missing_ok=True)

    def _check(self, recipe: Recipe) -> None:
        before, now = config.read_yaml(self.path / RECIPE), config.write(recipe)
        if found := difference(before, now):
            key, old, new = found
            raise ConfigError(
                f"{self.path}: holds a run with {key} = {old!r}, and now it is {new!r}; give another --out, "
                "or --fresh to delete that run and begin anew"
            )


def difference(before: Any, now: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which two trees of plain values differ, with both values; None if they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = ((key, before.get(key), now.get(key)) for key in [*before, *(key for key in now if key not in before)])
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = ((str(i), a, b) for i, (a, b) in enumerate(zip(before, now, strict=True)))
    else:
        return None if before == now else (path, before, now)
    found = (difference(a, b, f"{path}.{key}" if path else str(key)) for key, a, b in pairs)
    return next((item for item in found if item), None)


def _versions() -> str:
    return f"danlu {__version__}, torch {torch.__version__}, git {_commit()}"


def _commit() -> str:
    """The commit of the working folder, for the reader of a run; "none" outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip() if done.returncode == 0 else "none"
