"""Sizes of the key-value cache that papers print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.plan import kv_bytes, latent_kv_bytes


def test_opt_13b_of_the_paged_attention_paper() -> None:
    assert kv_bytes(layers=40, kv_heads=40, head=128, bytes_each=2) == 819_200
    assert kv_bytes(layers=40, kv_heads=40, head=128, bytes_each=2, tokens=2048) == pytest.approx(1.6e9, rel=0.05)


@pytest.mark.parametrize(
    ("layers", "kv_heads", "head", "expected"),
    [(18, 1, 256, 18_432), (36, 8, 128, 147_456), (126, 8, 128, 516_096)],
    ids=["Gemma-2B", "Qwen3-4B", "Llama-3.1-405B"],
)
def test_a_token_in_16_bit(layers: int, kv_heads: int, head: int, expected: int) -> None:
    assert kv_bytes(layers=layers, kv_heads=kv_heads, head=head, bytes_each=2) == expected


def test_latent_attention_of_deepseek() -> None:
    assert latent_kv_bytes(layers=60, rank=512, rope_head=64, bytes_each=1) == 34_560
    assert latent_kv_bytes(layers=61, rank=512, rope_head=64) == 70_272
    assert latent_kv_bytes(layers=61, rank=512, rope_head=64, tokens=2**20) / 2**30 == pytest.approx(68.625)


def test_published_cases(cases: list[dict]) -> None:
    """Every case of the shared planner file on the cache."""
    chosen = [c for c in cases if c["kind"] in ("kv_bytes_per_token", "kv_elements_per_token", "kv_bytes_total")]
    assert len(chosen) >= 6
    for case in chosen:
        given = dict(case["inputs"])
        each, tokens = given.get("bytes", 1), given.get("tokens", 1)
        if given.get("attention") == "mla":
            rank, rope = given["kv_lora_rank"], given["qk_rope_head_dim"]
            found = latent_kv_bytes(layers=given["layers"], rank=rank, rope_head=rope, tokens=tokens, bytes_each=each)
        else:
            heads, head = given["kv_heads"], given["head_dim"]
            found = kv_bytes(layers=given["layers"], kv_heads=heads, head=head, tokens=tokens, bytes_each=each)
        assert found == pytest.approx(case["expected"], rel=max(case["tolerance"]["rel"], 1e-9)), case["name"]


@pytest.fixture
def cases(shared: Path) -> list[dict]:
    return [c for c in json.loads((shared.parent / "facts/planner_cases.json").read_text()) if not c["doubtful"]]
