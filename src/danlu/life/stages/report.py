"""The report page and its picture: nothing in them but what the stages measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.files import write_text
from ..folder import LifeFolder
from ..report.page import code, page, paragraph, section, table
from ..report.picture import draw
from . import STAGES, Figures, Stage
from .exam import ExamStage, by_attribute
from .held_out import HeldOutStage
from .train import TrainStage

Card = tuple[str, str, str]


@STAGES.add("report")
class ReportStage(Stage):
    """Writes report.html (one file, nothing loaded from outside) and demo.png (curves and accuracy) from all figures.

    ``commands`` are what the reader may type next; {run} in them is the life's folder.

    Source: written for danlu.
    Truth:  tests/life/test_life_report.py (every figure of the page is a stage's; no address outside the file).
    """

    title = ("Where the time went", "时间用在哪里")

    def __init__(self, *, title: list[str] | None = None, commands: list[str] | None = None) -> None:
        self.titles = tuple(title or ("The life of a small model", "一个小模型的一生"))
        self.commands = commands or []

    def reads(self, life: LifeFolder) -> list[str]:
        return self._before(life)

    def _before(self, life: LifeFolder) -> list[str]:
        """The stages above this one."""
        names = list(life.stages)
        return names[: next(n for n, name in enumerate(names) if life.stages[name] is self)]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        names = self._before(life)
        records = {name: life.record(name) for name in names}
        sections = [_section(life, name, records[name]) for name in names]
        seconds = sum(record["seconds"] for record in records.values())
        cards = [*_cards(life, records), (f"{seconds:,.0f} s", "all stages", "全部阶段用时")]
        compared = _compared(life, records)
        body = page(
            (self.titles[0], self.titles[-1]),
            cards,
            [compared, *sections, self._times(records), self._next(life)],
        )
        write_text(life.path / "report.html", body)
        drawn = draw(life, records, folder / "demo.png")
        return {"seconds": seconds, "cards": cards, "picture": drawn}

    def line(self, figures: Figures) -> str:
        return ", ".join(f"{name} {value}" for value, name, _ in figures["cards"])

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        return ""

    def _times(self, records: dict[str, dict[str, Any]]) -> str:
        rows = [[name, f"{r['seconds']:,.1f}", f"{r['cpu_seconds']:,.1f}"] for name, r in records.items()]
        return section("times", self.title, "", table(["stage · 阶段", "seconds · 秒", "CPU seconds · CPU 秒"], rows))

    def _next(self, life: LifeFolder) -> str:
        if not self.commands:
            return ""
        commands = "\n".join(command.replace("{run}", str(life.path)) for command in self.commands)
        said = paragraph("What you can type now.", "接下来可以输入的命令。")
        return section("next", ("Next", "下一步"), "", said + code(commands))


def _section(life: LifeFolder, name: str, record: dict[str, Any]) -> str:
    stage = life.stages[name]
    note = f"{name} · {record['seconds']:,.1f} s"
    return section(name, stage.title, note, stage.section(life, life.of(name), record["figures"]))


def _cards(life: LifeFolder, records: dict[str, dict[str, Any]]) -> list[Card]:
    """The figures at the top: of the last exam, the last held-out text and the first training."""
    cards: list[Card] = []
    for name, stage in life.stages.items():
        if name not in records:
            continue
        figures = records[name]["figures"]
        if isinstance(stage, ExamStage):
            shares = " / ".join(f"{share:.1%}" for share in figures["languages"].values())
            cards.append((shares, f"{name}: people never asked, {' / '.join(figures['languages'])}", "从未被提问的人"))
        elif isinstance(stage, HeldOutStage):
            cards.append((f"{figures['model']['bits_per_byte']:.3f}", f"{name}: bits per byte", "每字节比特"))
        elif isinstance(stage, TrainStage) and figures["report"]["tokens_per_s"]:
            cards.append((f"{figures['report']['tokens_per_s']:,.0f}", f"{name}: tokens per second", "每秒词元"))
    return cards


def _compared(life: LifeFolder, records: dict[str, dict[str, Any]]) -> str:
    """Every exam beside the others, by language and attribute."""
    names = [name for name in records if isinstance(life.stages[name], ExamStage)]
    exams = {name: records[name]["figures"] for name in names}
    if len(exams) < 2:
        return ""
    said = paragraph(
        "The share of right answers about people whose questions were never trained, before and after fine-tuning.",
        "训练中从未被提问的人：微调前后的正确率。",
    )
    kinds = {k["name"]: [] for found in exams.values() for k in found["kinds"]}
    for found in exams.values():
        shares = {k["name"]: f"{k['share']:.1%}" for k in found["kinds"]}
        for name, row in kinds.items():
            row.append(shares.get(name, ""))
    rows = [[name, *row] for name, row in kinds.items()]
    return section(
        "compared", ("Before and after", "前后对比"), "", said + table(["", *exams], rows) + by_attribute(exams)
    )
