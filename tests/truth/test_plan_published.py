"""The rules of thumb against the tables they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.core.errors import ConfigError
from danlu.plan.published import (
    CONVENTIONS,
    activation_bytes_per_layer,
    bits_a_parameter,
    by_convention,
    offloaded_bytes,
    rules_of_thumb,
    score_share,
    zero_bytes,
)


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


def test_a_feed_forward_of_another_width() -> None:
    """Megatron-LM's own line for models whose ffn is not 4 · model: s·b·h·(18 + 4·ffn/h), 11,008 in LLaMA-7B."""
    found = activation_bytes_per_layer(length=2048, rows=1, model=4096, heads=32, ffn=11008, mode="selective")
    assert found == pytest.approx(2048 * 4096 * (18 + 4 * 11008 / 4096))
    same = activation_bytes_per_layer(length=8, rows=2, model=16, heads=2, ffn=64, tensor=4, mode="tp")
    assert same == pytest.approx(8 * 2 * 16 * (10 + 24 / 4 + 5 * 2 * 8 / (16 * 4)))


def test_all_modes_agree_on_one_rank() -> None:
    sizes = {"length": 128, "rows": 2, "model": 64, "heads": 4}
    none, tp, sp = (activation_bytes_per_layer(**sizes, mode=mode) for mode in ("none", "tp", "tp+sp"))
    assert none == pytest.approx(tp) == pytest.approx(sp)
    kept = activation_bytes_per_layer(**sizes, mode="selective")
    assert kept == pytest.approx(activation_bytes_per_layer(**sizes, mode="tp+selective"))
    assert kept == pytest.approx(none * (1 - score_share(length=128, model=64, heads=4)))


@pytest.mark.parametrize(
    ("stage", "sizes"), [(0, (120, 120, 120)), (1, (52.5, 35.6, 31.4, 30.1)), (2, (41.3, 21.6, 16.6, 15.1)), (3, (30, 7.5, 1.88, 0.12))]
)  # fmt: skip
def test_zero_table_1(stage: int, sizes: tuple[float, ...]) -> None:
    """7.5 billion parameters on 4, 16, 64 and 1,024 devices, in GB."""
    for ranks, gigabytes in zip((4, 16, 64, 1024), sizes, strict=False):
        assert zero_bytes(7.5e9, ranks, stage) / 1e9 == pytest.approx(gigabytes, rel=0.025)


def test_conventions_by_hand() -> None:
    """Bytes a parameter of one device; sharded whole, each is its share."""
    whole = {name: by_convention(1, 1, 0, name) for name in CONVENTIONS}
    assert whole == {
        "paper": 16, "deepspeed": 18, "megatron": 18, "distinct": 20, "fp32": 16, "bf16": 8, "8-bit adam": 10,
    }  # fmt: skip
    assert all(by_convention(1, 8, 3, name) == pytest.approx(bytes_ / 8) for name, bytes_ in whole.items())
    assert by_convention(1, 8, 1, "megatron") == 6 + 12 / 8
    assert by_convention(1, 4, 2, "megatron") == 2 + 16 / 4
    with pytest.raises(ConfigError, match="no convention named 'mine'"):
        by_convention(1, 1, 0, "mine")


def test_bits_and_what_is_offloaded() -> None:
    assert bits_a_parameter() == pytest.approx(4.127, abs=5e-4)
    assert bits_a_parameter(scale_bits=32, second_block=0) == 4.5
    assert offloaded_bytes(6.8e9, 131e6, 4) == 4 * 131e6
    assert offloaded_bytes(8, 1, 4, weights=False) == 4 + 2 * 2
    assert offloaded_bytes(8, 1, 4, weights=False, optimizer=False) == 4 + 18 * 2
