"""danlu bench memory at smoke size: which ways change no bit of the curve, and which hold fewer bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.lab import memory

SAME = (
    "all logits at once", "recompute: keep", "recompute: ops", "recompute: blocks", "activations away",
    "activations away, blocks", "fused step", "paged_adamw", "all of it in fp32", "LoRA, weights away",
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("memory")
    return folder, {row["method"]: row for row in memory.run(folder, quick=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_what_saves_memory_alone_leaves_the_curve(found: tuple[Path, dict[str, Any]], name: str) -> None:
    assert found[1][name]["deviation"] <= (0.0 if "logits" not in name else 1e-6)


@pytest.mark.slow
def test_what_rounds_stays_near(found: tuple[Path, dict[str, Any]]) -> None:
    rounded = {name: row["deviation"] for name, row in found[1].items() if name not in SAME and row["deviation"]}
    assert set(rounded) >= {"bf16, masters", "bf16, stochastic rounding", "adamw8bit", "LoRA, weights in bf16"}
    assert all(deviation < 0.05 for deviation in rounded.values()), rounded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("less", "more", "share"),
    [
        ("recompute: blocks", "recompute: ops", 1.0),
        ("recompute: ops", "fp32", 1.0),
        ("fp32", "recompute: keep", 1.0),
        ("activations away", "fp32", 0.8),
        ("paged_adamw", "fp32", 0.8),
        ("adamw8bit", "fp32", 0.9),
        ("bf16, stochastic rounding", "bf16, masters", 0.9),
        ("fp32", "all logits at once", 1.0),
        ("4 micro-batches", "fp32", 0.95),
        ("LoRA, weights in bf16", "LoRA", 0.98),
        ("all of it in fp32", "fp32", 0.5),
        ("all of it, stochastic, 8 bits", "all of it in fp32", 0.9),
    ],
)
def test_bytes_fall(found: tuple[Path, dict[str, Any]], less: str, more: str, share: float) -> None:
    rows = found[1]
    assert rows[less]["peak_bytes"] < share * rows[more]["peak_bytes"]


@pytest.mark.slow
def test_the_table_is_written(found: tuple[Path, dict[str, Any]]) -> None:
    folder, rows = found
    lines = (folder / "memory.md").read_text().splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[0].startswith("| setting")
    written = json.loads((folder / "memory.json").read_text())
    assert set(written["curves"]) == set(rows)
    assert (folder / "memory.png").stat().st_size > 10_000
    assert rows["paged_adamw"]["host_bytes"] > 0 == rows["fp32"]["host_bytes"]
