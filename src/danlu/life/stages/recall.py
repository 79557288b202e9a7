"""How far back models find what they read: trained with one encoding of positions, measured with any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import assembly, models
from ...core.errors import ConfigError, MissingExtra
from ...core.spec import Spec
from ...evaluate.picture import draw
from ...evaluate.recall import Recall, panels, reads, recall, usual
from ...infer import Local
from ..folder import LifeFolder
from ..report.page import paragraph, picture, table
from . import STAGES, Figures, Stage

PICTURE = "recall.png"


@STAGES.add("recall")
class RecallStage(Stage):
    """Measures copying and key–value recall by distance, for several models and ways to encode positions in them.

    ``of`` names what is measured: a training stage, or {model: stage, position: {use: rope, scaling: …}} for its
    weights under another encoding. ``passages`` are copied a distance, and four times as many recalled.

    Raises: ConfigError if nothing is named, or an entry is neither.
    Source: evaluate.recall.
    Truth:  tests/life/test_life_extrapolation.py (the figures of `danlu eval --recall`); tests/truth/test_recall.py.
    """

    title = ("What is found again, by distance", "按距离衡量的回忆能力")

    def __init__(
        self, *, of: dict[str, str | dict[str, Any]], distances: list[int] | None = None, passages: int = 32
    ) -> None:
        if not of:
            raise ConfigError("recall.of is empty; name a model, for example of: {rope: rope}")
        self.of = {name: _entry(name, raw) for name, raw in of.items()}
        self.distances, self.passages = distances, passages

    def reads(self, life: LifeFolder) -> list[str]:
        return list(dict.fromkeys(model for model, _ in self.of.values()))

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        found, trained = {}, 0
        for name, (stage, position) in self.of.items():
            model, tokenizer = assembly.load(life.place(stage) / "final")
            model = model if position is None else models.repositioned(model, position)
            trained = trained or model.dims.context
            distances = self.distances or usual(trained, model.limit)
            local = Local(model, tokenizer, reach=max(reads(max(distances)), model.dims.context))
            found[name] = recall(local, distances, passages=self.passages, quiet=life.quiet)
        return {
            "of": {name: result.write() for name, result in found.items()},
            "trained": trained,
            "drawn": _drawn(found, folder / PICTURE, trained),
        }

    def line(self, figures: Figures) -> str:
        last = {name: found["copy"][-1] for name, found in figures["of"].items()}
        return f"{len(last)} measured; copy accuracy at the largest distance: " + ", ".join(
            f"{name} {found['accuracy']:.2f}" for name, found in last.items()
        )

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        said = paragraph(
            f"An answer is right if it is the likeliest token; a copy over a distance reads twice as many tokens, a "
            f"recall one and a bit. The first model was trained on up to {figures['trained']} tokens.",
            "答案为概率最高的词元时算对；抄写读入的长度是距离的两倍。",
        )
        drawn = picture(folder / PICTURE, "accuracy by distance") if figures["drawn"] else ""
        return said + drawn + _table("copy", "copy · 抄写", figures) + _table("recall", "recall · 回忆", figures)


def _entry(name: str, raw: str | dict[str, Any]) -> tuple[str, Spec | None]:
    if isinstance(raw, str):
        return raw, None
    if not isinstance(raw, dict) or not set(raw) <= {"model", "position"} or not isinstance(raw.get("model"), str):
        raise ConfigError(f"recall.of.{name}: write a stage, or {{model: stage, position: {{use: …}}}}, not {raw!r}")
    return raw["model"], Spec.read(raw["position"], f"recall.of.{name}.position") if "position" in raw else None


def _drawn(found: dict[str, Recall], path: Path, trained: int) -> bool:
    try:
        draw(panels(found, trained=trained), path)
    except MissingExtra:
        return False
    return True


def _table(kind: str, title: str, figures: Figures) -> str:
    distances = sorted({one["distance"] for found in figures["of"].values() for one in found[kind]})
    rows = []
    for name, found in figures["of"].items():
        by = {one["distance"]: one["accuracy"] for one in found[kind]}
        rows.append([name, *(f"{by[d]:.3f}" if d in by else "" for d in distances)])
    return table([title, *map(str, distances)], rows)
