"""The built-in corpus: a bilingual world told in every kind of text, and the exam about what is never asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.spec import Spec
from ...world import World, world
from ...world.corpora import CORPORA, Corpus, Document
from ...world.corpora.questions import Questions
from ...world.oracle import Exercise
from ...world.words import Words
from ..folder import LifeFolder
from ..jsonl import read_rows, write_rows
from ..report.page import conversation, paragraph, table
from . import STAGES, Figures, Stage

EXAM, WORDS, UNASKED = "exam.jsonl", "words.txt", "unasked.jsonl"
ONE_OF = 4  # questions about people never asked that are kept to measure a held-out loss on


@STAGES.add("world")
class WorldStage(Stage):
    """Writes a file for every kind of text the world tells, the exam, and the words a tokenizer is trained on.

    ``corpora`` gives settings to kinds of text by name. unasked.jsonl holds questions and
    answers about people who are never asked, to measure a held-out loss on; they are never trained.

    Source: written for danlu; the split by person follows Allen-Zhu, Li 2023, arXiv:2309.14316.
    Truth:  tests/truth/test_world.py; tests/golden/test_world_hash.py; tests/life/test_life_stages.py.
    """

    title = ("A world in two languages, with an oracle for every answer", "双语世界：每个问题都有标准答案")

    def __init__(self, *, people: int = 60, strangers: int = 60, corpora: dict[str, Any] | None = None) -> None:
        self.people, self.strangers = people, strangers
        settings = {name: Spec(name, dict((corpora or {}).get(name) or {})) for name in {*CORPORA, *(corpora or {})}}
        self.corpora: dict[str, Corpus] = {
            name: settings[name].build(CORPORA, where=f"corpora.{name}") for name in sorted(settings)
        }

    def reads(self, life: LifeFolder) -> list[str]:
        return []

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        found = world(life.seed, people=self.people, strangers=self.strangers)
        documents = {name: list(corpus.training(found)) for name, corpus in self.corpora.items()}
        for name, rows in documents.items():
            write_rows(folder / f"{name}.jsonl", map(_row, rows))
        exam = [exercise for corpus in self.corpora.values() for exercise in corpus.exam(found)]
        write_rows(folder / EXAM, map(asdict, exam))
        unasked = Questions().about(found, found.unasked)
        write_rows(folder / UNASKED, map(_row, islice(unasked, 0, None, ONE_OF)))
        _write_words(folder / WORDS, found, (d for rows in documents.values() for d in rows))
        return {
            "people": {"asked": len(found.asked), "unasked": len(found.unasked), "strangers": len(found.strangers)},
            "attributes": [a.title for a in found.attributes],
            "documents": {name: len(rows) for name, rows in documents.items()},
            "bytes": {name: (folder / f"{name}.jsonl").stat().st_size for name in documents},
            "exercises": len(exam),
            "examples": {
                name: [_row(row) for row in rows[:: max(1, len(rows) // 2)][:2]] for name, rows in documents.items()
            },
        }

    def line(self, figures: Figures) -> str:
        people = figures["people"]
        return (
            f"{people['asked']} people whose questions are trained, {people['unasked']} never asked, "
            f"{sum(figures['documents'].values()):,} documents, {figures['exercises']:,} exercises"
        )

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = [[name, f"{count:,}", f"{figures['bytes'][name]:,}"] for name, count in figures["documents"].items()]
        people = figures["people"]
        text = paragraph(
            f"{people['asked']} people whose questions are trained, {people['unasked']} whose biographies are read "
            f"but who are never asked about, {people['strangers']} strangers; "
            f"{len(figures['attributes'])} attributes each.",
            f"{people['asked']} 人的问题参与训练，{people['unasked']} 人只有传记，从不提问，"
            f"{people['strangers']} 个陌生人；"
            f"每人 {len(figures['attributes'])} 个属性。",
        )
        examples = "".join(
            conversation(row["messages"]) if "messages" in row else paragraph(row["text"], "")
            for rows_ in figures["examples"].values()
            for row in rows_
        )
        return text + table(["text · 文本", "documents · 篇数", "bytes · 字节"], rows) + examples


def _row(document: Document) -> dict[str, Any]:
    return {"text": document} if isinstance(document, str) else {"messages": document}


def _write_words(path: Path, found: World, documents: Iterable[Document]) -> None:
    words = Words(found)
    texts = (t for d in documents for t in ([d] if isinstance(d, str) else [t for m in d for t in m.values()]))
    path.write_text("".join(f"{word}\n" for text in texts for word in words.of(text)), encoding="utf-8")


def read_exam(path: Path) -> list[Exercise]:
    """The exercises of an exam file; ``accept``, ``reject`` and the rest as they are written."""
    return [
        Exercise(**{**row, "accept": tuple(row["accept"]), "reject": tuple(row.get("reject", ()))})
        for row in read_rows(path)
    ]
