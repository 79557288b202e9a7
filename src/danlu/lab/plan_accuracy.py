"""The planner's bytes beside those that torch's allocator gave, over many recipes, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from .. import models
from ..core import config
from ..core.errors import DanluError
from ..core.files import write_json, write_text
from ..core.spec import Spec
from ..plan.work import Work
from .page import Column, markdown, scatter

COLUMNS = (
    Column("method", "recipe", ""),
    Column("predicted", "predicted, MiB", ",.2f", 2**20),
    Column("measured", "measured, MiB", ",.2f", 2**20),
    Column("error", "error, %", "+.2f", 0.01),
    Column("resident", "resident, MiB", ",.1f", 2**20),
    Column("phase", "dearest phase", ""),
    Column("seconds", "plan, s", ".1f"),
)
QUICK = ("llama, QLoRA (NF4)", "gpt2, BitFit", "lstm, all weights")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One recipe of plan_accuracy.yaml: a model by name, and the fields of its ``Work``."""

    model: str
    rows: int
    length: int
    micros: int = 1
    documents: int = 1
    counted: float = 1.0
    chunk: int = 1024
    recompute: str = "none"
    precision: Spec = field(default_factory=lambda: Spec("fp32"))
    optim: Spec = field(default_factory=lambda: Spec("adamw"))
    objective: Spec = field(default_factory=lambda: Spec("next_token"))
    adapter: Spec | None = None
    storage: Spec | None = None
    also_train: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def run(folder: str | Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Foretells and measures every recipe; writes plan.md, plan.json and plan.png.

    predicted: ``danlu plan``'s peak of a step after the first; measured: the same step's highest sum of tensors, from
    torch's profiler, or on a GPU from the allocator's own mark; resident: anonymous pages of the process at their most,
    beyond those before the model was built. ``quick`` takes three recipes.

    Truth: tests/lab/test_plan_accuracy.py (some recipes within 8 %; the errors by hand).
    """
    folder, works = Path(folder), read()
    rows = [_apart(name) for name in (QUICK if quick else works)]
    errors = sorted(abs(row["error"]) for row in rows)
    summary = {"recipes": len(rows), "median_error": median(errors), "worst_error": errors[-1]}
    write_json(folder / "plan.json", {**summary, "rows": rows})
    write_text(folder / "plan.md", page(rows, summary))
    panels = [column for column in COLUMNS if column.key in ("predicted", "error")]
    scatter(folder / "plan.png", rows, across=COLUMNS[2], up=panels)
    return rows


def page(rows: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The table, with what it comes to in one sentence."""
    said = (
        f"{summary['recipes']} recipes on the {rows[0]['device']}: the predicted peak is off by "
        f"{summary['median_error']:.2%} in the median and {summary['worst_error']:.2%} at worst."
    )
    return f"{said}\n\n{markdown(COLUMNS, rows)}\n"


def read() -> dict[str, Work]:
    """The recipes of plan_accuracy.yaml, by name."""
    import torch

    raw = yaml.safe_load(
        (resources.files(__package__ or "danlu.lab") / "plan_accuracy.yaml").read_text(encoding="utf-8")
    )
    made = {name: _model(dict(said)) for name, said in raw["models"].items()}
    cases = {name: config.read(Case, said, name) for name, said in raw["recipes"].items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: _work(case, made[case.model], device) for name, case in cases.items()}


def _model(said: dict[str, Any]) -> models.Architecture:
    vocab = said.pop("vocab")
    return models.recipe_of(Spec.read(said), vocab=vocab)


def _work(case: Case, recipe: models.Architecture, device: str) -> Work:
    values = {key: value for key, value in vars(case).items() if key != "model"}
    return Work(**{**values, "recipe": recipe, "also_train": tuple(case.also_train), "device": device})


def _apart(name: str) -> dict[str, Any]:
    """One recipe in a process of its own, whose memory nobody has used before."""
    done = subprocess.run([sys.executable, "-m", __name__, name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DanluError(f"the recipe {name!r} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(name: str, work: Work) -> dict[str, Any]:
    """One row of the table."""
    import time

    from ..train.forecast import memory_of
    from ..train.measured import allocated, resident

    held, taken = resident(work), allocated(work)
    began = time.monotonic()
    memory = memory_of(work)
    return {
        "method": name,
        "predicted": memory.peak_bytes,
        "measured": taken,
        "error": memory.peak_bytes / taken - 1,
        "resident": held,
        "phase": memory.peak_phase,
        "seconds": round(time.monotonic() - began, 2),
        "device": "GPU" if work.device == "cuda" else "CPU",
    }


if __name__ == "__main__":
    wanted = sys.argv[1]
    sys.stdout.write(json.dumps(compared(wanted, read()[wanted])) + "\n")
