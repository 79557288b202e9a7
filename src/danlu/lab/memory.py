"""Every way to train in less memory on one recipe: the same curve, fewer bytes, other seconds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from .. import models
from ..core import config
from ..core.batch import Batch
from ..core.files import write_json, write_text
from ..core.rng import derive
from ..core.spec import Spec
from ..data import DataRecipe, Pack, Source
from ..objectives.next_token import NextToken
from ..plan import allocating
from ..tokenize.training import train as learn
from ..train import parts, state
from ..train.recipe import Recipe, TrainRecipe
from ..train.trainer import Trainer
from ..world import world
from ..world.corpora.biographies import Biographies
from .page import Column, markdown, scatter

PEOPLE = 60


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one way changes in the recipe."""

    against: str = "fp32"
    optim: Spec | None = None
    adapter: Spec | None = None
    also_train: list[str] = field(default_factory=list)
    train: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The file memory.yaml: a step is ``rows`` of ``length`` tokens; one more, which is watched, is ``wider``."""

    seed: int
    steps: int
    rows: int
    wider: int
    length: int
    vocab: int
    recipe: dict[str, Any]
    settings: dict[str, Setting]


COLUMNS = (
    Column("method", "setting", ""),
    Column("loss", "last loss", ".4f"),
    Column("deviation", "largest deviation", ".1e"),
    Column("against", "from", ""),
    Column("peak_bytes", "peak, MiB", ",.1f", 2**20),
    Column("host_bytes", "at the host, MiB", ",.1f", 2**20),
    Column("step_seconds", "step, ms", ",.0f", 1e-3),
)


def run(folder: str | Path, quick: bool = False) -> list[dict[str, Any]]:
    """Trains a newborn model once a setting on the same batches; writes memory.md, memory.json and memory.png.

    last loss: of the last step; largest deviation: of any step's loss from that of the setting it is compared with;
    peak: weights, gradients, states and all else that torch's allocator holds at once in a step of more rows; at the
    host: weights and states that rest outside of it between steps; step: the median. ``quick`` trains next to nothing,
    to see that all works.

    Truth: tests/lab/test_bench_memory.py (the settings at smoke size: which rows are equal, and which are smaller).
    """
    folder, bench = Path(folder), read(quick=quick)
    folder.mkdir(parents=True, exist_ok=True)
    (batches, wide), rows, curves = _batches(bench), [], {}
    for name, setting in bench.settings.items():
        row, curves[name] = _measured(_recipe(bench, setting), batches, wide, folder)
        found = zip(curves[name], curves[setting.against], strict=True)
        deviation = max(abs(a - b) for a, b in found) if setting.against != name else None
        rows.append({"method": name, "against": setting.against, "deviation": deviation, **row})
    write_json(folder / "memory.json", {"rows": rows, "curves": curves, "bench": config.write(bench)})
    write_text(folder / "memory.md", f"{markdown(COLUMNS, rows)}\n")
    scatter(folder / "memory.png", rows, across=COLUMNS[4], up=(COLUMNS[6], COLUMNS[1]))
    return rows


def read(*, quick: bool = False) -> Bench:
    """memory.yaml; ``quick``: of a small model, three steps."""
    text = resources.files("danlu.lab").joinpath("memory.yaml").read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    if quick:
        raw |= {"steps": 3, "vocab": 512, "wider": 1}
        raw["recipe"]["architecture"] |= {"model": 64, "layers": 4, "heads": 4, "ffn": 256}
    return config.read(Bench, raw, "memory.yaml")


def _batches(bench: Bench) -> tuple[list[Batch], Batch]:
    """Biographies of the built-in world, told one after another: the rows of each step, and of the wider one."""
    texts = list(Biographies(copies=2).training(world(bench.seed, people=PEOPLE)))
    tokenizer = learn(iter(texts), vocab=bench.vocab)
    ids = [token for text in texts for token in tokenizer.encode(text)]
    size = bench.rows * (bench.length + 1)
    whole = torch.tensor(ids[: len(ids) // size * size]).view(-1, bench.rows, bench.length + 1)
    chosen = whole[torch.arange(bench.steps + bench.wider) % len(whole)]
    steps = [Batch.dense(tokens) for tokens in chosen[: bench.steps]]
    return steps, Batch.dense(chosen[bench.steps :].flatten(0, 1))


def _recipe(bench: Bench, setting: Setting) -> Recipe:
    slots = bench.rows * bench.length
    common = {**bench.recipe["train"], **setting.train}
    settings = {"steps": bench.steps, "tokens": slots, "micro": slots, **common}
    return Recipe(
        seed=bench.seed,
        data=DataRecipe(parts=[Source(from_="the built-in world")], pack=Pack(length=bench.length)),
        tokenizer="of the built-in world",
        architecture=Spec.read(bench.recipe["architecture"]),
        optim=setting.optim or Spec.read(bench.recipe["optim"]),
        schedule=Spec.read(bench.recipe["schedule"]),
        adapter=setting.adapter,
        also_train=setting.also_train,
        train=config.read(TrainRecipe, settings, "train"),
    )


def _measured(recipe: Recipe, batches: list[Batch], wide: Batch, folder: Path) -> tuple[dict[str, Any], list[float]]:
    torch.manual_seed(derive(recipe.seed, "torch"))
    trainer = _trainer(recipe, batches, folder)
    with trainer.precision.around_run():
        seen = [trainer.update([batch]) for batch in batches]
        trainer.micro = trainer.micro and trainer.micro * len(wide) // len(batches[0])  # as many parts as before
        trainer.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        held = state.held_bytes(trainer)
        with allocating() as peak:
            trainer.update([wide])
    row = {
        "loss": seen[-1].loss,
        "peak_bytes": held + peak.bytes_,
        "host_bytes": _at_host(trainer),
        "step_seconds": median(numbers.seconds for numbers in seen[1:]),
    }
    return row, [numbers.loss for numbers in seen]


def _trainer(recipe: Recipe, batches: list[Batch], folder: Path) -> Trainer:
    assert recipe.architecture is not None
    vocab = 1 + max(int(batch.tokens.max()) for batch in batches)
    model = models.build(recipe.architecture, vocab=vocab, seed=recipe.seed)
    parts.keep_in(parts.precision_of(recipe).weights, model.parameters())
    parts.adapt(recipe, model)
    trainer = parts.over(recipe, model, NextToken(recipe.train.chunk), _Given(batches), len(batches), folder)
    trainer.model.train()
    return trainer


def _at_host(trainer: Trainer) -> int:
    tensors = [*trainer.model.parameters(), *state.optimizer_tensors(trainer).values()]
    return sum(tensor.nbytes for tensor in tensors if trainer.held.resting(tensor))


class _Given:
    """A stream of these batches, once."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.at = batches, 0

    def __iter__(self) -> Iterator[Batch]:
        for batch in islice(self.batches, self.at, None):
            self.at += 1
            yield batch

    def state(self) -> dict[str, Any]:
        return {"at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
