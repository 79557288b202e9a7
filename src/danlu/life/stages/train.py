"""A training run: pretraining or fine-tuning by an ordinary training recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import train as trainer
from ...core import config
from ...core.files import write_text
from ...train import Recipe
from ...train.forecast import forecast
from ..folder import PATHS, LifeFolder
from ..jsonl import read_rows
from ..report.chart import lines
from ..report.page import code, figure, paragraph, table
from . import STAGES, Figures, Stage

SHARED_CACHE = "store"


@STAGES.add("train")
class TrainStage(Stage):
    """Runs a training recipe, as ``danlu train`` would; paths in it that begin with a stage's name lie in its folder.

    The recipe is written beside the run as recipes/<stage>.yaml, so the same run can be had by hand. A killed run goes
    on from its last checkpoint.

    Source: train.train.
    Truth:  tests/life/test_life_stages.py (the written recipe, trained by hand, gives the same losses).
    """

    title = ("Train", "训练")

    def __init__(self, *, recipe: dict[str, Any]) -> None:
        self.recipe = recipe

    def reads(self, life: LifeFolder) -> list[str]:
        return list(dict.fromkeys(_paths(self.recipe)))

    def resolved(self, life: LifeFolder) -> Recipe:
        """The recipe with every path written out; data is kept where the store stage keeps it."""
        raw = life.places(self.recipe)
        raw.setdefault("seed", life.seed)
        raw["data"] = {"cache": str(life.path / SHARED_CACHE), **raw.get("data", {})}
        return config.read(Recipe, raw, "recipe")

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        recipe = self.resolved(life)
        path = life.path / "recipes" / f"{folder.name}.yaml"
        write_text(path, config.dump(recipe))
        plan = forecast(recipe, title=str(path)).data()
        done = trainer.train(path, out=folder, quiet=life.quiet)
        return {"recipe": str(path), "plan": plan, "report": done.report}

    def line(self, figures: Figures) -> str:
        report = figures["report"]
        parts = [f"{report['parameters']:,} parameters", f"{report['steps']:,} steps", f"{report['tokens']:,} tokens"]
        if report["loss"]:
            parts.append(f"loss {report['loss']['first']:.2f} → {report['loss']['last']:.2f}")
        if report["tokens_per_s"]:
            parts.append(f"{report['tokens_per_s']:,.0f} tokens/s")
        return ", ".join(parts)

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = list(read_rows(folder / "metrics.jsonl"))
        trained = [(r["step"], r["loss"]) for r in rows if "loss" in r]
        held = [(r["step"], r["held_out_loss"]) for r in rows if "held_out_loss" in r]
        chart = lines(
            [("training · 训练", _smooth(trained)), ("held out · 留出", held)], across="step", up="loss, nats a token"
        )
        said = paragraph(self.line(figures) + ".", "")
        return (
            said
            + figure(chart, "loss in nats a token, training smoothed", "损失（每词元 nats），训练曲线已平滑")
            + planned_and_measured(figures["plan"], figures["report"])
            + code(f"danlu train {figures['recipe']}")
        )


def planned_and_measured(plan: dict[str, Any], report: dict[str, Any]) -> str:
    """What the planner said before the run beside what the run took."""
    here = report["this_process"]
    slow, fast = plan["tokens_a_step"] / plan["seconds_a_step"][1], plan["tokens_a_step"] / plan["seconds_a_step"][0]
    rows = [
        ["parameters · 参数", f"{plan['parameters']['total']:,}", f"{report['parameters']:,}"],
        ["peak memory · 峰值内存", f"{plan['peak_bytes'] / 2**20:,.0f} MiB", f"{here['peak_bytes'] / 2**20:,.0f} MiB"],
    ]
    if report["tokens_per_s"]:
        rows.append(["tokens per second · 每秒词元", f"{slow:,.0f} – {fast:,.0f}", f"{report['tokens_per_s']:,.0f}"])
    counted = paragraph(
        "The plan counts tensors; resident memory also holds what libraries load and the gaps the C library keeps.",
        "预测只计张量；常驻内存还包括各库载入的内容和 C 库保留的空隙。",
    )
    return table(["", "planned · 预测", f"measured ({here['peak_of']}) · 实测"], rows) + (
        counted if here["peak_of"].startswith("resident") else ""
    )


def _paths(value: Any) -> list[str]:
    """The strings of a recipe that name files: sources, a base, a tokenizer, a validation set."""
    if isinstance(value, dict):
        named = [value[key] for key in PATHS if isinstance(value.get(key), str)]
        return named + [path for item in value.values() for path in _paths(item)]
    return [path for item in value for path in _paths(item)] if isinstance(value, list) else []


def _smooth(points: list[tuple[float, float]], width: int = 15) -> list[tuple[float, float]]:
    """Means of neighboring points, about a hundred of them kept."""
    stride = max(1, len(points) // 100)
    means = []
    for end in range(0, len(points), stride):
        near = points[max(0, end - width) : end + width + 1]
        means.append((points[end][0], sum(y for _, y in near) / len(near)))
    return means
