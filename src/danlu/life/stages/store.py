"""The training stages' data, tokenized once into the store that training will find there."""

from __future__ import annotations

from pathlib import Path

from ... import data
from ...core.errors import ConfigError
from ...tokenize import load_tokenizer
from ..folder import LifeFolder
from ..report.page import table
from . import STAGES, Figures, Stage
from .train import TrainStage


@STAGES.add("store")
class StoreStage(Stage):
    """Builds the store of every stage named in ``of``; training then opens it as a user's second run would.

    Raises: ConfigError if a name in ``of`` is no training stage.
    Source: data.build.
    Truth:  tests/life/test_life_stages.py (training after it finds every source cached).
    """

    title = ("Text to tokens, once", "文本转为词元，只做一次")

    def __init__(self, *, of: list[str], tokenizer: str = "tokenizer") -> None:
        self.of, self.tokenizer = of, tokenizer

    def reads(self, life: LifeFolder) -> list[str]:
        read = [path for name in self.of for path in self._training(life, name).reads(life)]
        return list(dict.fromkeys([self.tokenizer, *(path for path in read if life.stage_of(path) not in self.of)]))

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        tokenizer = load_tokenizer(life.place(self.tokenizer))
        found = {}
        for name in self.of:
            recipe = self._training(life, name).resolved(life)
            prepared = data.build(recipe.data, tokenizer, seed=recipe.seed, quiet=life.quiet)
            found[name] = prepared.report
        return found

    def _training(self, life: LifeFolder, name: str) -> TrainStage:
        stage = life.stages.get(name)
        if not isinstance(stage, TrainStage):
            raise ConfigError(f"store.of: {name!r} is no training stage; the stages are {list(life.stages)}")
        return stage

    def line(self, figures: Figures) -> str:
        return ", ".join(
            f"{name} {f['train']['tokens']:,} tokens in {f['train']['rows']:,} rows, {f['train']['fill']:.0%} full"
            for name, f in figures.items()
        )

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = [
            [
                f"{name}: {Path(source['from']).name}",
                *(f"{source[kind]['train']:,}" for kind in ("documents", "tokens")),
            ]
            for name, report in figures.items()
            for source in report["sources"]
        ]
        return table(["source · 来源", "documents · 篇数", "tokens · 词元"], rows)
