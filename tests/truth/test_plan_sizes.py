"""Parameter counts against published ones and the closed form; no weight is allocated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.core.spec import Spec
from danlu.models import Recipe, on_meta, recipe_of
from danlu.nn.dims import Dims
from danlu.plan import parameters
from danlu.plan.request import recipe_at
from danlu.plan.sizes import gpt2_parameters


def gpt2(layers: int, model: int, heads: int, vocab: int = 50257, context: int = 1024) -> Recipe:
    return recipe_of(Spec("gpt2", {"model": model, "layers": layers, "heads": heads, "context": context}), vocab=vocab)


@pytest.mark.parametrize(
    ("layers", "model", "heads", "context", "published"),
    [(12, 768, 12, 1024, 124_439_808), (36, 1280, 20, 1024, 774_030_080), (48, 1600, 25, 1024, 1_557_611_200), (96, 12288, 96, 2048, 174_604_259_328)],
    ids=["GPT-2", "GPT-2 large", "GPT-2 XL", "GPT-3"],
)  # fmt: skip
def test_gpt2_by_construction_and_by_formula(layers: int, model: int, heads: int, context: int, published: int) -> None:
    assert parameters(gpt2(layers, model, heads, context=context)).total == published
    assert gpt2_parameters(layers=layers, model=model, vocab=50257, context=context) == published


def test_llama_by_hand() -> None:
    """LLaMA 7B from its shapes: 32 blocks of four 4096² and three 4096 × 11008, two tables, 65 norms."""
    spec = Spec("llama", {"model": 4096, "layers": 32, "heads": 32, "ffn": 11008, "context": 2048})
    sizes = parameters(recipe_of(spec, vocab=32000))
    assert sizes.kinds["attention"] == 32 * 4 * 4096**2
    assert sizes.kinds["ffn"] == 32 * 3 * 4096 * 11008
    assert sizes.kinds["embedding"] == sizes.kinds["head"] == 32000 * 4096
    assert sizes.kinds["norms"] == 65 * 4096
    assert sizes.total == 6_738_415_616
    assert sizes.without_embedding == sizes.total - 2 * 32000 * 4096
    assert sizes.block_weights == 4 * 4096**2 + 3 * 4096 * 11008


def test_a_tied_head_is_counted_once_but_still_multiplied() -> None:
    settings = {"model": 64, "layers": 1, "heads": 4, "context": 32}
    tied, untied = (parameters(recipe_of(Spec("llama", {**settings, "tied": t}), vocab=100)) for t in (True, False))
    assert untied.total - tied.total == 64 * 100
    assert tied.kinds["head"] == 0
    assert tied.head_weights == untied.head_weights == 6400


def test_every_parameter_is_of_one_kind() -> None:
    model = on_meta(gpt2(2, 64, 4))
    assert sum(parameters(model.recipe).kinds.values()) == sum(p.numel() for p in model.parameters())
    assert parameters(model.recipe).kinds["other"] == 0


def test_parameter_counts_file(shared: Path, tmp_path: Path) -> None:
    """Published configurations through the reader of config.json; encoders belong to a later issue."""
    types = {"LlamaForCausalLM": "llama", "GPT2LMHeadModel": "gpt2"}
    cases = [c for c in json.loads((shared / "theory/parameter_counts.json").read_text()) if c["hf_class"] in types]
    assert len(cases) >= 6
    for case in cases:
        file = tmp_path / "config.json"
        extra = {"max_position_embeddings": 2048} if case["hf_class"].startswith("Llama") else {}
        file.write_text(json.dumps({"model_type": types[case["hf_class"]], **extra, **case["config"]}))
        assert parameters(recipe_at(str(file))).total == case["parameters"], case["name"]


def test_planner_cases(shared: Path) -> None:
    """Every decoder of the shared planner file that danlu has a family for, from its shapes."""
    every = json.loads((shared.parent / "facts/planner_cases.json").read_text())
    cases = [c for c in every if c["kind"] == "params_total" and not c["doubtful"]]
    chosen = [c for c in cases if c["inputs"]["arch"] in ("llama", "gpt2") and "experts" not in c["inputs"]]
    assert len(chosen) >= 10
    for case in chosen:
        assert parameters(recipe_from(case["inputs"])).total == case["expected"], case["name"]


def recipe_from(given: dict[str, Any]) -> Recipe:
    dims = Dims(
        vocab=given["vocab"], model=given["hidden"], heads=given["heads"], layers=given["layers"], ffn=given["ffn"],
        context=given.get("max_positions", 2048), kv_heads=given.get("kv_heads", 0), head=given.get("head_dim", 0),
    )  # fmt: skip
    bias = given["bias"]
    return Recipe(
        dims=dims,
        position=Spec(given["pos"]),
        norm=Spec({"rmsnorm": "rms", "layernorm": "layer"}[given["norm"]]),
        ffn=Spec(given["ffn_type"], {"bias": bias}),
        head_norm=Spec("rms") if given.get("qk_norm") else None,
        bias=bias or given.get("qkv_bias", False),
        out_bias=bias,
        tied=given["tied"],
    )
