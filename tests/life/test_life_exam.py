"""Marks: what is asked, who is right, and the shares by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from danlu.life import Life
from danlu.life.jsonl import read_rows
from danlu.life.stages.exam import spread, tallies
from danlu.life.stages.world import read_exam
from danlu.world import Exercise, right


def answers(verdicts: list[bool], **tags: str) -> list[dict[str, Any]]:
    return [
        {"kind": "fact", "language": "en", "attribute": "job", "phrasing": "seen", "right": v, **tags} for v in verdicts
    ]


@pytest.mark.parametrize(
    ("verdicts", "share"), [([True] * 4, 1.0), ([False] * 4, 0.0), ([True, False, False, False], 0.25)]
)
def test_shares_of_known_verdicts(verdicts: list[bool], share: float) -> None:
    found = tallies(answers(verdicts))
    assert found["languages"] == {"en": share}
    assert found["attributes"] == {"en · job": share}
    assert found["groups"] == {"fact · en": share}
    assert found["kinds"] == [{"name": "fact · en · seen", "right": sum(verdicts), "asked": 4, "share": share}]


def test_only_facts_count_as_facts() -> None:
    found = tallies(
        answers([True, False]) + answers([True], language="zh") + answers([False], kind="arithmetic", phrasing="")
    )
    assert found["languages"] == {"en": 0.5, "zh": 1.0}
    assert [k["name"] for k in found["kinds"]] == ["fact · en · seen", "fact · zh · seen", "arithmetic · en"]


def test_spread_keeps_so_many_of_each_kind_evenly() -> None:
    exercises = [
        Exercise([{"role": "user", "content": str(n)}], ("x",), tags={"kind": kind, "language": "en"})
        for kind, count in (("a", 10), ("b", 3))
        for n in range(count)
    ]
    kept = [(e.tags["kind"], e.messages[0]["content"]) for e in spread(exercises, 4)]
    assert kept == [("a", "0"), ("a", "2"), ("a", "5"), ("a", "7"), ("b", "0"), ("b", "1"), ("b", "2")]
    assert spread(exercises, None) == exercises


def test_written_answers_judged_again_give_the_figures(lived: Life) -> None:
    exercises = {str(e.messages): e for e in read_exam(lived.folder / "corpus" / "exam.jsonl")}
    rows = list(read_rows(lived.folder / "after" / "answers.jsonl"))
    assert rows
    for row in rows:
        e = exercises[str(row["messages"])]
        assert row["right"] is right(row["answer"], e.accept, e.reject)
    by_kind = lived.figures("after")["kinds"]
    assert sum(k["asked"] for k in by_kind) == len(rows)
    assert sum(k["right"] for k in by_kind) == sum(row["right"] for row in rows)


def test_an_exam_can_be_passed(tmp_path: Path) -> None:
    """A model trained on the very answers passes: the marks are not out of reach by a fault of form."""
    import torch
    from lives import MODEL, recipe_of, training

    from danlu.life import run
    from danlu.life.jsonl import write_rows

    torch.set_num_threads(1)
    talk = [("What is A?", "It is apple."), ("B是什么？", "是香蕉。"), ("What is C?", "It is 12.")]
    messages = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in talk]
    write_rows(tmp_path / "talk.jsonl", ({"messages": m} for m in messages * 20))
    exam = [
        {
            "messages": m[:1],
            "accept": [w],
            "reject": ["pear"],
            "tags": {"kind": "fact", "language": "en", "attribute": "x"},
        }
        for m, w in zip(messages, ("apple", "香蕉", "12"), strict=True)
    ]
    write_rows(tmp_path / "exam.jsonl", exam)
    stages = {
        "tokenizer": {"use": "tokenizer", "vocab": 300, "files": [str(tmp_path / "talk.jsonl")]},
        "sft": training([{"from": str(tmp_path / "talk.jsonl")}], 80, tokenizer="tokenizer", architecture=MODEL),
        "after": {"use": "exam", "model": "sft", "exercises": str(tmp_path / "exam.jsonl")},
    }
    stages["sft"]["recipe"]["optim"] = {"use": "adamw", "lr": 1e-2}
    done = run(recipe_of(stages, tmp_path / "run"), quiet=True)
    assert done.figures("after")["languages"] == {"en": 1.0}
