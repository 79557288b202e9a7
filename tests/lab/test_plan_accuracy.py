"""The planner's table: some of its recipes measured here, its sentence by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from danlu.lab import plan_accuracy
from danlu.lab.plan_accuracy import compared, page, read

SOME = (
    "llama, bf16 weights",
    "llama, packed, four micro-batches",
    "llama, QLoRA (NF4), recomputed",
    "gpt2, BitFit",
    "t5, spans",
    "lstm, packed",
)


def test_thirty_recipes_of_many_kinds() -> None:
    works = read()
    assert len(works) >= 30
    assert len({work.recipe.family for work in works.values()}) >= 8
    assert len({work.adapter.use for work in works.values() if work.adapter}) >= 8
    assert len({work.recompute for work in works.values()}) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_within_eight_percent(name: str) -> None:
    work = read()[name]
    row = compared(name, replace(work, rows=1, length=128))
    assert abs(row["error"]) < 0.08
    assert row["resident"] > 0


def test_the_page_says_median_and_worst(tmp_path, monkeypatch) -> None:
    rows = [
        {"method": name, "predicted": 2**20, "measured": 2**20, "error": error, "resident": 2**21, "phase": "loss",
         "seconds": 1.0, "device": "CPU"}
        for name, error in (("a", 0.01), ("b", -0.05), ("c", 0.02))
    ]  # fmt: skip
    text = page(rows, {"recipes": 3, "median_error": 0.02, "worst_error": 0.05})
    assert "off by 2.00% in the median and 5.00% at worst" in text
    assert "| b " in text
    found = dict(zip(plan_accuracy.QUICK, rows, strict=True))
    monkeypatch.setattr(plan_accuracy, "_apart", found.__getitem__)
    pytest.importorskip("matplotlib")
    plan_accuracy.run(tmp_path, quick=True)
    assert {file.name for file in tmp_path.iterdir()} == {"plan.md", "plan.json", "plan.png"}
    assert "off by 2.00% in the median and 5.00% at worst" in (tmp_path / "plan.md").read_text()
