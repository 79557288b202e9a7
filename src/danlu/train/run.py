"""From a recipe to a trained model in a run folder: the first of the five calls run → fit → update → loss → hidden."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch

from .. import assembly, data
from ..core import config
from ..core.errors import ConfigError
from ..core.files import atomic_folder, seal, verify
from ..core.rng import derive
from ..nn.model import Model
from ..plan import Peak, measuring
from ..tokenize import Tokenizer
from . import held_out, state
from .blame import blame
from .checkpoint import Checkpoints
from .continued import continued, restore
from .curves import draw
from .folder import Folder
from .forecast import expect_room, fitting
from .hooks import Hook, Sight
from .parts import build, check, goal, hooks, origin
from .pieces import rows_at_once, steps_of
from .recipe import Recipe
from .report import report
from .speed import flops_a_token, rate_here
from .trainer import Trainer


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the model as trained, the lines of metrics.jsonl and what report.json says."""

    folder: Path
    model: Model
    tokenizer: Tokenizer
    metrics: list[dict[str, Any]]
    report: dict[str, Any]


def train(
    recipe: Recipe | str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = True,
    quiet: bool = False,
) -> Run:
    """Trains what a recipe says and leaves the model under ``out/final``; ``out`` is runs/<name of the recipe>.

    Called again with the same recipe it goes on where it was killed, bit for bit, or answers the finished run;
    ``resume=False`` deletes that run and begins anew.
    Raises: ConfigError, DataError, ShapeError, CheckpointError: each one sentence with its remedy.
    """
    recipe, path = _resolved(recipe, overrides, out)
    folder = Folder.open(path, recipe, resume=resume, quiet=quiet)
    if folder.finished:
        folder.note(f"{path} is finished; its model lies under {folder.final}")
        return _finished(folder)
    with _machine(recipe):
        begin = time.monotonic()
        work = _Work(recipe, folder)
        stopped = work.fit()
        seconds = time.monotonic() - begin
    return work.close(stopped, seconds)


class _Work:
    """Everything a run holds while it runs."""

    def __init__(self, recipe: Recipe, folder: Folder) -> None:
        recipe, adapter = continued(recipe)
        self.recipe, self.folder = recipe, folder
        self.hooks = hooks(recipe)
        expect_room(recipe)
        model, self.tokenizer = origin(recipe)
        restore(model, adapter)
        check(recipe, model, self.tokenizer)
        objective = goal(recipe, model, self.tokenizer)
        self.data = data.build(recipe.data, self.tokenizer, seed=recipe.seed, quiet=folder.quiet)
        self.planned = fitting(recipe, model.recipe, self.data)
        self.steps = steps_of(recipe, self.data.train)
        self.trainer = build(recipe, model, objective, self.data, self.steps, folder.path)
        keep = next((hook.keep for hook in self.hooks if hook.keep), None)
        text = config.dump(recipe)
        self.checkpoints = Checkpoints(folder.checkpoints, self.tokenizer, text, keep=keep, note=folder.note)
        self.bytes_ = held_out.byte_table(self.tokenizer, model.dims.vocab)
        self.peak = Peak()

    # ── what the trainer asks of its keeper ──────────────────────────────────────────────────────────────────────
    def save(self, trainer: Trainer) -> None:
        self.folder.ledger.sync()
        self.checkpoints.save(trainer)

    def rewind(self, trainer: Trainer) -> int:
        step = self.checkpoints.load(trainer)
        self.folder.ledger.cut(step)
        return step

    # ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────
    def fit(self) -> str:
        """Goes on from the newest checkpoint; answers why the run stopped early, "" if it did not."""
        self.checkpoints.clean()
        if start := self.checkpoints.load(self.trainer):
            self.folder.note(f"going on after step {start} of {self.steps}")
        self.folder.ledger.cut(start)
        begun: list[Hook] = []
        try:
            for hook in self.hooks:
                begun.append(hook)
                self.trainer.serve(hook.begin(self._sight(start)), self)
            return self._measured(start)
        finally:
            for hook in begun:
                hook.end()

    def _measured(self, start: int) -> str:
        """Notes the peak of memory from the second step on: the first loads libraries, which are nobody's plan."""
        trainer = self.trainer
        stopped = trainer.fit(min(start + 1, self.steps - 1), self.hooks, self)
        held = state.held_bytes(trainer)
        with measuring() as self.peak:
            stopped = stopped or trainer.fit(self.steps, self.hooks, self)
        self.peak.bytes_ += held
        return stopped

    def close(self, stopped: str, seconds: float) -> Run:
        """Writes final/, curves.png and report.json."""
        trainer, folder = self.trainer, self.folder
        if stopped:
            folder.note(f"stopped after step {trainer.step}: {stopped}")
        with atomic_folder(folder.final) as draft:
            assembly.write_into(trainer.model, self.tokenizer, draft)
            seal(draft)
        lines = folder.ledger.lines
        if not draw(lines, folder.path / "curves.png"):
            folder.note("curves.png was not drawn: it needs matplotlib, pip install 'danlu[plot]'")
        measured = {"stopped": stopped, "seconds": seconds, "peak": self.peak}
        folder.finish(report(self.recipe, self.trainer, self.data, lines, planned=self.planned, **measured))
        return Run(folder.path, trainer.model.eval(), self.tokenizer, lines, folder.report)

    def _sight(self, start: int) -> Sight:
        recipe, trainer, ledger = self.recipe, self.trainer, self.folder.ledger
        rows = partial(data.once, self.data.held_out, rows=rows_at_once(recipe), length=recipe.data.pack.length)
        return Sight(
            folder=self.folder.path,
            start=start,
            steps=self.steps,
            quiet=self.folder.quiet,
            flops=flops_a_token(trainer.model.recipe, recipe.data.pack.length),
            evaluate=partial(held_out.measure, trainer, rows, self.bytes_),
            blame=partial(blame, trainer),
            record=ledger.append,
            recorded=lambda: ledger.lines,
            note=self.folder.note,
            rate=partial(rate_here, recipe.train.precision.use, torch.get_num_threads()),
        )


def _resolved(recipe: Recipe | str | Path, overrides: Sequence[str], out: str | Path | None) -> tuple[Recipe, Path]:
    if isinstance(recipe, Recipe):
        if overrides:
            raise ConfigError("overrides are for recipes in files; change a Recipe with dataclasses.replace")
        return recipe, Path(out or "runs/run")
    return config.load(Recipe, recipe, overrides), Path(out or f"runs/{Path(recipe).stem}")


def _finished(folder: Folder) -> Run:
    verify(folder.final)
    model, tokenizer = assembly.load(folder.final)
    assert tokenizer is not None
    return Run(folder.path, model, tokenizer, folder.ledger.lines, folder.report)


@contextmanager
def _machine(recipe: Recipe) -> Iterator[None]:
    """Threads and random numbers of this run, and afterwards those of before."""
    threads, numbers = torch.get_num_threads(), torch.get_rng_state()
    python, legacy = random.getstate(), numpy.random.get_state()
    torch.set_num_threads(recipe.train.threads or threads)
    torch.manual_seed(derive(recipe.seed, "torch"))
    random.seed(derive(recipe.seed, "python"))
    numpy.random.seed(derive(recipe.seed, "numpy") % 2**32)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(numbers)
        random.setstate(python)
        numpy.random.set_state(legacy)
