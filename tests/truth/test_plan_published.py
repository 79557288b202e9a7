"""The rules of thumb against the tables they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.core.errors import ConfigError
from danlu.plan.published import activation_bytes_per_layer, rules_of_thumb, zero_bytes


def test_activations_of_the_22b_and_1t_rows() -> None:
    whole = activation_bytes_per_layer(length=2048, rows=4, model=6144, heads=64)
    assert whole == pytest.approx(7_079_985_152)
    parallel = activation_bytes_per_layer(length=2048, rows=4, model=6144, heads=64, tensor=8, mode="tp+sp+selective")
    assert parallel == pytest.approx(213_909_504)
    full = activation_bytes_per_layer(length=2048, rows=1, model=25600, heads=160, tensor=8, mode="full")
    assert full == 104_857_600


def test_activation_cases(shared: Path) -> None:
    cases = json.loads((shared.parent / "facts/planner_cases.json").read_text())
    chosen = [c for c in cases if c["kind"] == "activation_bytes_per_layer" and not c["doubtful"]]
    assert len(chosen) >= 5
    for case in chosen:
        given = case["inputs"]
        found = activation_bytes_per_layer(
            length=given["seq"], rows=given["micro_batch"], model=given["hidden"], heads=given["heads"], tensor=given["tp"], mode=given["mode"]
        )  # fmt: skip
        assert found == pytest.approx(case["expected"], rel=1e-9), case["name"]


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_of_figure_1(stage: int, gigabytes: float) -> None:
    assert zero_bytes(7.5e9, 64, stage) / 1e9 == pytest.approx(gigabytes, rel=0.015)


def test_zero_of_table_1() -> None:
    assert zero_bytes(1e12, 1024, 1) / 1e9 == pytest.approx(4011, rel=0.006)
    assert zero_bytes(1e12, 1024, 2) / 1e9 == pytest.approx(2013, rel=0.006)


def test_gpt2_needs_at_least_24_gigabytes() -> None:
    assert rules_of_thumb(1.5e9)["full fine-tuning, 16 bytes a parameter"] == 24e9


def test_modes_and_stages_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="tp\\+sp"):
        activation_bytes_per_layer(length=1, rows=1, model=1, heads=1, mode="sp")
    with pytest.raises(ConfigError, match="stages 0, 1, 2 and 3"):
        zero_bytes(1, 1, 4)
