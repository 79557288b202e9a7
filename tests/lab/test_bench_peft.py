"""The bench of methods at smoke size: every method runs, and the figures of one are made again by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from danlu.core.errors import ConfigError
from danlu.lab.peft import read, run
from danlu.peft import ADAPTERS


@pytest.mark.slow
def test_figures_of_a_method_by_hand(tmp_path: Path) -> None:
    rows = {row["method"]: row for row in run(tmp_path, methods=["lora", "prompt"], quick=True, quiet=True)}
    assert list(rows) == ["base", "lora", "prompt"]
    lines = [json.loads(line) for line in (tmp_path / "lora/metrics.jsonl").read_text().splitlines()]
    assert rows["lora"]["step_seconds"] == statistics.median(line["seconds"] for line in lines if "seconds" in line)
    # rank 8 beside q, k, v, o (32 → 32), gate and up (32 → ffn), down (ffn → 32), in two blocks
    ffn = read(quick=True).stages["base"].settings["recipe"]["architecture"].get("ffn", 128)
    assert rows["lora"]["trained"] == 2 * 8 * (4 * 64 + 3 * (32 + ffn))
    assert rows["prompt"]["trained"] == 16 * 32
    for name in ("task", "kept"):
        assert 0 <= rows["prompt"][name] <= 1
    assert json.loads((tmp_path / "peft.json").read_text()) == list(rows.values())
    assert (tmp_path / "peft.png").stat().st_size > 10_000
    assert (tmp_path / "peft.md").read_text().count("\n") == 2 + len(rows)


def test_every_method_is_on_the_bench_or_says_why_not() -> None:
    """Biases: the base has none. Fusion: its members are adapters of other runs."""
    used = {method.adapter.use for method in read().methods.values() if method.adapter}
    assert set(ADAPTERS) - used == {"bitfit", "fusion"}


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lora"):
        run(tmp_path, methods=["lorra"], quick=True, quiet=True)
