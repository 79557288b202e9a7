"""A life from its first stage to its last: finished ones are passed over, a killed one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import config
from ..core.files import write_text
from .folder import LifeFolder
from .recipe import LifeRecipe
from .stages import STAGES

Say = Callable[[str], None]


@dataclass(frozen=True)
class Life:
    """A finished life: its folder, every stage's record (seconds, figures), and the report's path if it has one."""

    folder: Path
    records: dict[str, dict[str, Any]]

    @property
    def report(self) -> Path | None:
        page = self.folder / "report.html"
        return page if page.is_file() else None

    @property
    def closing(self) -> str:
        """What to print at the end: the figures of the report's cards, and where the page is."""
        cards = [card for record in self.records.values() for card in record["figures"].get("cards", [])]
        lines = [f"  {value:>16}   {name}" for value, name, _ in cards]
        return "\n".join([*lines, f"report: {self.report}" if self.report else f"finished: {self.folder}"])

    def figures(self, stage: str) -> dict[str, Any]:
        return self.records[stage]["figures"]


def run(
    recipe: LifeRecipe | str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    say: Say | None = None,
) -> Life:
    """Runs every stage that is not finished with the same settings and inputs; ``say`` is told a line a stage.

    Killed at any point, the same call goes on in the stage where it was. ``fresh`` deletes what the stages left.
    Raises: ConfigError, DataError and whatever a stage's room raises: each one sentence with its remedy.
    """
    if not isinstance(recipe, LifeRecipe):
        recipe = config.load(LifeRecipe, recipe, overrides)
    stages = {name: spec.build(STAGES, where=f"stages.{name}") for name, spec in recipe.stages.items()}
    life = LifeFolder(Path(out or recipe.out), recipe, stages, quiet=quiet)
    if fresh:
        life.clear()
    for name in stages:
        life.key(name)  # a missing input is found before the first stage works
    life.path.mkdir(parents=True, exist_ok=True)
    write_text(life.path / "life.yaml", config.dump(replace(recipe, out=str(life.path))))
    records = {name: _stage(life, name, say or (lambda line: None)) for name in stages}
    return Life(life.path, records)


def _stage(life: LifeFolder, name: str, say: Say) -> dict[str, Any]:
    stage = life.stages[name]
    if life.finished(name):
        record = life.record(name)
        say(f"{name:<12} {'done':>8}   {stage.line(record['figures'])}")
        return record
    folder = life.begin(name)
    wall, cpu = time.monotonic(), time.process_time()
    figures = stage.run(life, folder)
    life.finish(
        name,
        {
            "seconds": round(time.monotonic() - wall, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "figures": figures,
        },
    )
    record = life.record(name)
    say(f"{name:<12} {record['seconds']:>6.1f} s   {stage.line(figures)}")
    return record
