"""An exam: a model answers exercises by greedy decoding, and the oracle that came with them judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ... import assembly
from ...core.errors import CheckpointError
from ...infer import Local
from ...world import Exercise, right
from ..folder import LifeFolder
from ..jsonl import write_rows
from ..report.chart import bars
from ..report.page import figure, paragraph, table
from . import STAGES, Figures, Stage
from .world import read_exam


@STAGES.add("exam")
class ExamStage(Stage):
    """Asks the model of a training stage every exercise and counts what its oracle accepts, by kind and by attribute.

    ``most`` keeps at most so many exercises of each kind, language and phrasing, evenly spread.
    share = Σ right / Σ asked.

    Source: exact-match accuracy by an oracle; written for danlu.
    Truth:  tests/life/test_life_exam.py (a model that is always right, always wrong, and half; the oracle by hand).
    """

    title = ("Exam on people never asked about in training", "考试：训练中从未被提问的人")

    def __init__(
        self,
        *,
        model: str,
        exercises: str = "corpus/exam.jsonl",
        max_tokens: int = 32,
        most: int | None = None,
    ) -> None:
        self.model, self.exercises, self.max_tokens, self.most = model, exercises, max_tokens, most

    def reads(self, life: LifeFolder) -> list[str]:
        return [self.model, self.exercises]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        exercises = spread(read_exam(life.place(self.exercises)), self.most)
        model, tokenizer = assembly.load(life.place(self.model) / "final")
        if tokenizer is None:
            raise CheckpointError(f"{self.model}/final: holds no tokenizer; train the stage again")
        answers = Local(model, tokenizer).chat([e.messages for e in exercises], max_tokens=self.max_tokens)
        graded = [_graded(e, answer.text) for e, answer in zip(exercises, answers, strict=True)]
        write_rows(folder / "answers.jsonl", graded)
        return tallies(graded)

    def line(self, figures: Figures) -> str:
        return ", ".join(f"{language} {share:.1%}" for language, share in figures["languages"].items())

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        said = paragraph(
            "Greedy answers, judged by the fact table: the right value and no other of its kind.",
            "贪心解码作答，由事实表判分：必须含正确的值且不含同类的其他值。",
        )
        rows = [[k["name"], f"{k['right']:,}", f"{k['asked']:,}", f"{k['share']:.1%}"] for k in figures["kinds"]]
        return said + table(["exercises · 题目", "right · 正确", "asked · 提问", "share · 比例"], rows)


def _graded(e: Exercise, answer: str) -> dict[str, Any]:
    verdict = right(answer, e.accept, e.reject)
    return {"messages": e.messages, "answer": answer, "accept": list(e.accept), "right": verdict, **e.tags}


def by_attribute(exams: dict[str, dict[str, Any]]) -> str:
    """Bars by language and attribute, one color an exam."""
    names = list(dict.fromkeys(name for found in exams.values() for name in found["attributes"]))
    groups = [(name, [found["attributes"].get(name) for found in exams.values()]) for name in names]
    return figure(bars(groups, list(exams)), "facts by language and attribute", "按语言与属性")


def tallies(rows: Sequence[dict[str, Any]]) -> Figures:
    """Counts by kind, language and phrasing; shares by kind and language; of facts by language and by attribute."""
    facts = [row for row in rows if row["kind"] == "fact"]
    kinds = _counted(rows, ("kind", "language", "phrasing"))
    return {
        "kinds": [{"name": name, **found} for name, found in kinds.items()],
        "groups": {name: found["share"] for name, found in _counted(rows, ("kind", "language")).items()},
        "languages": {name: found["share"] for name, found in _counted(facts, ("language",)).items()},
        "attributes": {name: found["share"] for name, found in _counted(facts, ("language", "attribute")).items()},
    }


def _counted(rows: Iterable[dict[str, Any]], by: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        found[" · ".join(row[key] for key in by if row.get(key))].append(row["right"])
    return {
        name: {"right": sum(marks), "asked": len(marks), "share": sum(marks) / len(marks)}
        for name, marks in found.items()
    }


def spread(exercises: Sequence[Exercise], most: int | None) -> list[Exercise]:
    """At most ``most`` exercises of each kind, language and phrasing, evenly spread over them, in order."""
    if most is None:
        return list(exercises)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, e in enumerate(exercises):
        groups[tuple(e.tags.get(key, "") for key in ("kind", "language", "phrasing"))].append(number)
    kept = {
        group[len(group) * k // min(most, len(group))]
        for group in groups.values()
        for k in range(min(most, len(group)))
    }
    return [exercises[number] for number in sorted(kept)]
