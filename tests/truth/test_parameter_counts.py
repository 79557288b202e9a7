"""Parameters of every public configuration on file, to the last digit, on models built without memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.core.spec import Spec
from danlu.models import Architecture, Recipe
from danlu.models.families import of_type
from danlu.models.forms.vision import VisionRecipe
from danlu.models.published import Settings
from danlu.nn.dims import Dims
from danlu.plan import parameters

SHARED = Path(os.environ.get("DANLU_SHARED", Path(__file__).parents[3] / "shared"))
BERT = {"num_attention_heads": 12, "type_vocab_size": 2, "max_position_embeddings": 512}
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForCausalLM": ("llama", {"max_position_embeddings": 2048}),
    "GPT2LMHeadModel": ("gpt2", {}),
    "BertModel": ("bert", BERT),
    "RobertaModel": ("roberta", {**BERT, "type_vocab_size": 1}),
    "AlbertModel": ("albert", BERT),
    "T5ForConditionalGeneration": ("t5", {}),
    "BloomForCausalLM": ("bloom", {}),
    "ViTModel": ("vit", {"num_attention_heads": 12, "intermediate_size": 3072}),
}
"""Class of transformers → our family, and what its published config.json says beside the settings on file."""


def on_file(name: str) -> list[dict[str, Any]]:
    """The cases of a file beside the checkout; none where it is absent."""
    return json.loads((SHARED / name).read_text()) if (SHARED / name).is_file() else []


def published(model_type: str, **settings: Any) -> Architecture:
    """The recipe of a config.json."""
    return of_type(model_type, "here").published.read(Settings({"model_type": model_type, **settings}, "here"))


def test_the_files_are_there(shared: Path) -> None:
    assert len(on_file("data/theory/parameter_counts.json")) == 12
    assert len(PLANNED) == 28


@pytest.mark.parametrize("case", on_file("data/theory/parameter_counts.json"), ids=lambda case: case["name"])
def test_public_configurations(case) -> None:
    model_type, more = TYPES[case["hf_class"]]
    recipe = published(model_type, architectures=[case["hf_class"]], **{**more, **case["config"]})
    assert parameters(recipe).total == case["parameters"]


def sizes(given: dict[str, Any], offset: int = 0) -> Dims:
    return Dims(
        vocab=given["vocab"], model=given["hidden"], heads=given["heads"], layers=given["layers"], ffn=given["ffn"],
        context=given.get("max_positions", 2048 + offset) - offset, kv_heads=given.get("kv_heads", 0),
        head=given.get("head_dim", 0),
    )  # fmt: skip


def by_class(given: dict[str, Any], kinds: dict[bool, str]) -> Architecture:
    """A LLaMA-like family by whether it has biases or norms of q and k."""
    family = kinds[bool(given.get("qk_norm") or given.get("qkv_bias"))]
    dims = sizes(given)
    return published(
        family, vocab_size=dims.vocab, hidden_size=dims.model, num_hidden_layers=dims.layers, head_dim=dims.head,
        num_attention_heads=dims.heads, num_key_value_heads=dims.kv_heads, intermediate_size=dims.ffn,
        max_position_embeddings=2048, tie_word_embeddings=given["tied"],
    )  # fmt: skip


def llama(given: dict[str, Any]) -> Architecture:
    """Its own family, Qwen2 with biases, Qwen3 with norms; a mixture of experts in the blocks of Qwen3."""
    recipe = by_class(given, {False: "llama", True: "qwen3" if given.get("qk_norm") else "qwen2"})
    if "experts" not in given:
        return recipe
    assert isinstance(recipe, Recipe)
    ffn = Spec("moe", {"experts": given["experts"], "router": {"use": "top_k", "k": given["top_k"]}})
    return Recipe(dims=recipe.dims, ffn=ffn, head_norm=recipe.head_norm, tied=recipe.tied)


def gpt2(given: dict[str, Any]) -> Architecture:
    dims = sizes(given)
    return published(
        "gpt2", vocab_size=dims.vocab, n_embd=dims.model, n_layer=dims.layers, n_head=dims.heads, n_inner=dims.ffn,
        n_positions=dims.context,
    )  # fmt: skip


def bert(given: dict[str, Any]) -> Architecture:
    dims = sizes(given)
    return published(
        "bert", architectures=["BertModel"], vocab_size=dims.vocab, hidden_size=dims.model,
        num_hidden_layers=dims.layers, num_attention_heads=dims.heads, intermediate_size=dims.ffn,
        max_position_embeddings=dims.context, type_vocab_size=given["token_types"],
    )  # fmt: skip


def albert(given: dict[str, Any]) -> Architecture:
    dims = sizes(given)
    return published(
        "albert", architectures=["AlbertModel"], vocab_size=dims.vocab, embedding_size=given["embedding"],
        hidden_size=dims.model, num_hidden_layers=dims.layers, num_hidden_groups=1, num_attention_heads=dims.heads,
        intermediate_size=dims.ffn, max_position_embeddings=dims.context, type_vocab_size=given["token_types"],
    )  # fmt: skip


def t5(given: dict[str, Any]) -> Architecture:
    return published(
        "t5", vocab_size=given["vocab"], d_model=given["hidden"], d_kv=given["head_dim"], d_ff=given["ffn"],
        num_layers=given["encoder_layers"], num_decoder_layers=given["decoder_layers"], num_heads=given["heads"],
        feed_forward_proj=given["ffn_type"], relative_attention_num_buckets=given["relative_buckets"],
        tie_word_embeddings=given["tied"],
    )  # fmt: skip


def bloom(given: dict[str, Any]) -> Architecture:
    dims = sizes(given)
    return published("bloom", vocab_size=dims.vocab, hidden_size=dims.model, n_layer=dims.layers, n_head=dims.heads)


def composed(given: dict[str, Any], ffn: str, **parts: Any) -> Architecture:
    """A stack of parts, where there is no family of that name: LayerNorm and biases everywhere."""
    return Recipe(
        dims=sizes(given, parts.pop("offset", 0)), norm=Spec("layer"), ffn=Spec(ffn, {"bias": True}), bias=True,
        out_bias=True, tied=given["tied"], **parts,
    )  # fmt: skip


def opt(given: dict[str, Any]) -> Architecture:
    return composed(given, "relu", offset=2, position=Spec("learned", {"offset": 2}))


def mpt(given: dict[str, Any]) -> Architecture:
    return composed(given, "gelu", position=Spec("learned"))


def gpt_neox(given: dict[str, Any]) -> Architecture:
    """Sublayers side by side, each behind a norm of its own."""
    return composed(given, "gelu", wiring=Spec("parallel", {"shared": False}), position=Spec("rope", {"part": 0.25}))


def gemma(given: dict[str, Any]) -> Architecture:
    return Recipe(dims=sizes(given), ffn=Spec("geglu", {"tanh": True}), tied=given["tied"], embed_scale=2048**0.5)


def chatglm(given: dict[str, Any]) -> Architecture:
    """The first ChatGLM: rotary in both of its positions, which count no parameter."""
    return composed(given, "gelu", position=Spec("rope"))


PLANNED = [
    case
    for case in on_file("facts/planner_cases.json")
    if case["kind"] == "params_total" and case["inputs"]["arch"] != "clip"
]
MADE: dict[str, Callable[[dict[str, Any]], Architecture]] = {
    "llama": llama, "gpt2": gpt2, "bert": bert, "albert": albert, "t5": t5, "bloom": bloom, "opt": opt, "mpt": mpt,
    "gpt_neox": gpt_neox, "gemma": gemma, "glm-v1": chatglm,
}  # fmt: skip


@pytest.mark.parametrize("case", PLANNED, ids=lambda case: case["name"])
def test_planner_cases(case) -> None:
    assert parameters(MADE[case["inputs"]["arch"]](case["inputs"])).total == case["expected"]


CLIP = [case for case in on_file("facts/planner_cases.json") if case["inputs"].get("arch") == "clip"]


@pytest.mark.parametrize("case", CLIP, ids=lambda case: case["name"])
def test_two_towers(case) -> None:
    """CLIP's towers, built; its patches have no bias, and it adds two projections and a temperature."""
    given = case["inputs"]
    sees, reads, shared = given["vision"], given["text"], given["projection"]
    texts = sizes({**reads, "max_positions": reads["positions"]})
    text = composed({**reads, "max_positions": reads["positions"], "tied": True}, "gelu", position=Spec("learned"))
    patches = (sees["image"] // sees["patch"]) ** 2
    pixels = sizes({**sees, "vocab": 1, "max_positions": 1 + patches})
    encoder = Recipe(
        dims=pixels, position=Spec("learned"), norm=Spec("layer"), ffn=Spec("gelu", {"bias": True}), bias=True,
        out_bias=True, embed_norm=Spec("layer"), head=None, masks=(Spec("full"),),
    )  # fmt: skip
    image = VisionRecipe(dims=pixels, encoder=encoder, image=sees["image"], patch=sees["patch"])
    ends = shared * (texts.model + pixels.model) + given["logit_scale"]
    assert parameters(text).total + parameters(image).total - pixels.model + ends == case["expected"]


ACTIVE = [
    case
    for case in on_file("facts/planner_cases.json")
    if case["kind"] == "params_active" and case["inputs"]["arch"] == "llama"
]


@pytest.mark.parametrize("case", ACTIVE, ids=lambda case: case["name"])
def test_parameters_that_take_part_in_one_token(case) -> None:
    found = parameters(llama(case["inputs"])).active
    assert found == pytest.approx(case["expected"], rel=case["tolerance"]["rel"])


def test_the_experts_that_a_token_does_not_visit_are_idle_by_hand() -> None:
    """Mixtral 8x7B: 46.7 billion parameters, of which two of eight experts serve a token."""
    recipe = published(
        "mixtral", vocab_size=32000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, intermediate_size=14336, max_position_embeddings=32768, num_local_experts=8,
        num_experts_per_tok=2,
    )  # fmt: skip
    sizes = parameters(recipe)
    assert sizes.total == 46_702_792_704
    assert sizes.total - sizes.active == 32 * 6 * 3 * 4096 * 14336
    assert sizes.block_weights == 2 * 4096 * 128 * (32 + 8) + 2 * 3 * 4096 * 14336 + 8 * 4096


MEGATRON = [case for case in on_file("facts/planner_cases.json") if case["kind"] == "params_formula"]


@pytest.mark.parametrize("case", MEGATRON, ids=lambda case: case["name"])
def test_models_of_megatron(case) -> None:
    """Billions of parameters, as rounded as the table that they are from."""
    given = case["inputs"]
    recipe = published(
        "gpt2", vocab_size=given["vocab"], n_embd=given["hidden"], n_layer=given["layers"], n_head=32,
        n_positions=given["seq"],
    )  # fmt: skip
    assert parameters(recipe).total / 1e9 == pytest.approx(case["expected"], rel=case["tolerance"]["rel"])
