"""Sizes of the key-value cache that papers print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe
from danlu.nn.dims import Dims
from danlu.plan import kv_bytes, latent_kv_bytes
from danlu.plan.kv import kv_bytes_of, thumb_kv_bytes, windows_of


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


def test_windows_by_hand() -> None:
    """Mistral-7B: 32 layers that see 4,096 tokens; Gemma 2: every second layer."""
    mistral = {"layers": 32, "kv_heads": 8, "head": 128, "bytes_each": 2, "window": 4096}
    assert kv_bytes(**mistral, tokens=4096) == 2**29
    assert kv_bytes(**mistral, tokens=32_768) == 2**29
    assert kv_bytes(**mistral, tokens=100) == 131_072 * 100
    gemma = kv_bytes(layers=26, kv_heads=4, head=256, bytes_each=2, tokens=8192, window=4096, windowed=13)
    assert gemma == 2 * 4 * 256 * 2 * (13 * 4096 + 13 * 8192)


def test_the_layers_of_a_recipe() -> None:
    near = Spec("both", {"a": "causal", "b": {"use": "window", "size": 16}})
    recipe = Recipe(
        dims=Dims(vocab=9, model=32, heads=4, kv_heads=2, layers=4, context=64), masks=(near, Spec("causal"))
    )
    assert windows_of(recipe) == [16, None, 16, None]
    assert kv_bytes_of(recipe, tokens=64, rows=3) == 2 * 2 * 8 * 4 * 3 * (2 * 16 + 2 * 64)


def test_numbers_of_a_byte_with_a_scale() -> None:
    """int8 with one fp32 scale a vector of 128: 132 bytes instead of 256."""
    small, half = (
        kv_bytes(layers=1, kv_heads=1, head=128, bytes_each=each, constants=more) for each, more in ((1, 4), (2, 0))
    )
    assert small / half == 132 / 256


def test_the_rule_of_thumb_is_for_all_heads() -> None:
    """LLaMA-7B by the rule; Llama-3-70B, of whose 64 heads 8 keep keys, takes an eighth of it."""
    assert thumb_kv_bytes(layers=32, hidden=4096, tokens=2048) == 2**30
    exact = kv_bytes(layers=80, kv_heads=8, head=128, bytes_each=2, tokens=8192)
    assert thumb_kv_bytes(layers=80, hidden=8192, tokens=8192) == 8 * exact


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"kv_heads": 0}, {"tokens": 0}, {"windowed": 3}, {"window": -1}])
def test_mistakes(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="kv cache"):
        kv_bytes(**{"layers": 2, "kv_heads": 1, "head": 4, **wrong})
