"""Every method of fine-tuning on one base and one task: what it trains, holds, takes, learns and forgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from .. import assembly
from ..core import config
from ..core.errors import unknown
from ..core.files import write_json, write_text
from ..core.spec import Spec
from ..evaluate import perplexity
from ..infer import Local
from ..life import Life, LifeRecipe
from ..life import run as live
from ..train.forecast import architecture_of, work_of
from ..train.measured import allocated
from ..train.recipe import Recipe
from ..world import world
from ..world.corpora.biographies import Biographies
from .page import Column, markdown, scatter

UNTOLD = 10_000  # the number of a biography whose wording no training text has
PEOPLE = 12  # whose biographies measure what is forgotten


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method changes in the recipe of the task."""

    adapter: Spec | None = None
    storage: Spec | None = None
    also_train: list[str] = field(default_factory=list)
    lr: float = 3e-3


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The file peft.yaml: stages that end in a base, the recipe of the task, and methods by name."""

    stages: dict[str, Spec]
    task: dict[str, Any]
    exam: dict[str, Any]
    methods: dict[str, Method]
    seed: int = 0


COLUMNS = (
    Column("method", "method", ""),
    Column("trained", "trains", ",d"),
    Column("peak_bytes", "peak, MiB", ",.1f", 2**20),
    Column("step_seconds", "step, ms", ",.1f", 1e-3),
    Column("loss", "task, nats", ".3f"),
    Column("task", "task, %", ".1f", 0.01),
    Column("kept", "still known, %", ".1f", 0.01),
    Column("forgotten", "old text, bits/byte", "+.3f"),
)


def run(
    folder: str | Path, *, methods: list[str] | None = None, quick: bool = False, quiet: bool = False
) -> list[dict[str, Any]]:
    """Trains the base once and then each method on the same batches; writes peft.md, peft.json and peft.png.

    trained: numbers that training moves; peak: the highest sum of tensors in a step; task: the loss on held-out
    answers, and questions about
    people never heard of that are answered so; still known: facts about people the base knows but was never asked
    about; old text: how many bits a byte biographies in new words cost more than before.
    Methods that are finished are not trained again. ``quick`` trains next to nothing, to see that all works.

    Raises: ConfigError for a method that is not listed.
    Truth:  tests/lab/test_bench_peft.py (all methods at smoke size; the figures of one by hand).
    """
    folder, bench = Path(folder), read(quick=quick)
    chosen = methods or list(bench.methods)
    if odd := [name for name in chosen if name not in bench.methods]:
        raise unknown("method", odd[0], list(bench.methods))
    life = live(_life(bench, chosen, folder), quiet=quiet, say=None if quiet else print)
    texts = list(_untold(bench))
    before = _bits(folder / "base" / "final", texts)
    rows = [{"method": "base", **_known(life, "base_exam"), "forgotten": 0.0}]
    for name in chosen:
        rows.append(_row(life, name) | {"forgotten": _bits(folder / name / "final", texts) - before})
        _write(folder, rows)
    return rows


def read(*, quick: bool = False) -> Bench:
    """The methods, the base and the task, as the package has them."""
    text = resources.files("danlu.lab").joinpath("peft.yaml").read_text(encoding="utf-8")
    bench = config.read(Bench, yaml.safe_load(text), "peft.yaml")
    return _smaller(bench) if quick else bench


def _smaller(bench: Bench) -> Bench:
    base = dict(bench.stages["base"].settings["recipe"])
    base["architecture"] = {**base["architecture"], "model": 32, "layers": 2, "heads": 2}
    base["train"] = {**base["train"], "steps": 4}
    corpus = Spec("world", {"people": 8, "strangers": 8})
    stages = {**bench.stages, "corpus": corpus, "base": Spec("train", {"recipe": base})}
    task = {**bench.task, "train": {**bench.task["train"], "steps": 4}}
    return replace(bench, stages=stages, task=task, exam={**bench.exam, "most": 1, "max_tokens": 4})


def _life(bench: Bench, chosen: list[str], folder: Path) -> LifeRecipe:
    """The stages of the base, and of each method a training and an exam."""
    stages = {**bench.stages, "base_exam": Spec("exam", {"model": "base", **bench.exam})}
    for name in chosen:
        stages[name] = Spec("train", {"recipe": _recipe(bench, bench.methods[name])})
        stages[f"{name}_exam"] = Spec("exam", {"model": name, **bench.exam})
    return LifeRecipe(stages=stages, seed=bench.seed, out=str(folder))


def _recipe(bench: Bench, method: Method) -> dict[str, Any]:
    changes = {"adapter": method.adapter, "storage": method.storage, "also_train": method.also_train}
    said = {key: config.write(value) for key, value in changes.items() if value}
    return {**bench.task, **said, "optim": {"use": "adamw", "lr": method.lr, "weight_decay": 0.0}}


def _row(life: Life, name: str) -> dict[str, Any]:
    figures = life.figures(name)
    recipe, report = config.load(Recipe, figures["recipe"]), figures["report"]
    return {
        "method": name,
        "trained": report["trained"],
        "peak_bytes": allocated(work_of(recipe, architecture_of(recipe))),
        "step_seconds": report["step_seconds"],
        "loss": report["held_out_loss"]["after"],
        **_known(life, f"{name}_exam"),
    }


def _known(life: Life, exam: str) -> dict[str, float]:
    groups = life.figures(exam)["kinds"]
    return {"task": _share(groups, "stranger"), "kept": _share(groups, "fact")}


def _share(groups: list[dict[str, Any]], kind: str) -> float:
    mine = [group for group in groups if group["name"].startswith(kind)]
    return sum(group["right"] for group in mine) / sum(group["asked"] for group in mine)


def _untold(bench: Bench) -> Iterator[str]:
    """Biographies of people the base knows, in words it never read."""
    people = bench.stages["corpus"].settings
    told = world(bench.seed, people=people["people"], strangers=people["strangers"])
    for number, person in enumerate(told.people[:PEOPLE]):
        yield Biographies().one(told, person, "en", number, UNTOLD)
        yield Biographies().one(told, person, "zh", number, UNTOLD)


def _bits(folder: Path, texts: list[str]) -> float:
    return perplexity(Local(*assembly.load(folder)), texts).bits_per_byte


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_json(folder / "peft.json", rows)
    write_text(folder / "peft.md", markdown(COLUMNS, rows) + "\n")
    measured = [row for row in rows if "trained" in row]
    scatter(folder / "peft.png", measured, across=COLUMNS[1], up=(COLUMNS[4], COLUMNS[6], COLUMNS[7]))
