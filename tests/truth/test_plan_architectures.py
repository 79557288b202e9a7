"""Closed forms of parameter counts: published counts that no file has, and the model itself, built without memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe, on_meta, recipe_of
from danlu.nn.storages import maps_of
from danlu.plan import parameters
from danlu.plan.adapted import (
    bitfit_parameters,
    bottleneck_parameters,
    lora_parameters,
    maps_of_llama,
    prefix_parameters,
    prompt_parameters,
)
from danlu.plan.architectures import FAMILIES, parameters_of

V3 = {
    "vocab": 129280, "hidden": 7168, "dense_ffn": 18432, "moe_ffn": 2048, "layers": 61, "heads": 128, "shared_experts": 1,
    "experts": 256, "top_k": 8, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    "v_head_dim": 128, "first_dense_layers": 3,
}  # fmt: skip
PUBLISHED: dict[str, tuple[str, dict[str, Any], int]] = {
    "gpt-oss-20b": ("gpt_oss", {"hidden": 2880, "layers": 24, "heads": 64, "kv_heads": 8, "head_dim": 64, "moe_ffn": 2880, "experts": 32, "top_k": 4, "vocab": 201088}, 20_914_757_184),
    "BART-large": ("bart", {"hidden": 1024, "ffn": 4096, "encoder_layers": 12, "decoder_layers": 12, "vocab": 50265, "max_positions": 1024}, 406_291_456),
    "ViT-B/16": ("vit", {"hidden": 768, "ffn": 3072, "layers": 12, "patch": 16, "image": 224, "classes": 1000}, 86_567_656),
    "Whisper tiny": ("whisper", {"hidden": 384, "ffn": 1536, "encoder_layers": 4, "decoder_layers": 4, "vocab": 51865}, 37_760_640),
    "Falcon-7B": ("falcon", {"hidden": 4544, "layers": 32, "heads": 71, "kv_heads": 1, "ffn": 18176, "vocab": 65024}, 6_921_720_704),
    "Phi-2": ("phi", {"hidden": 2560, "layers": 32, "heads": 32, "ffn": 10240, "vocab": 51200}, 2_779_683_840),
    "GPT-J": ("gptj", {"hidden": 4096, "layers": 28, "heads": 16, "ffn": 16384, "vocab": 50400}, 6_050_882_784),
    "Mixtral 8x7B": ("mixtral", {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 32000, "experts": 8, "top_k": 2}, 46_702_792_704),
    "OPT-350M": ("opt", {"hidden": 1024, "layers": 24, "heads": 16, "ffn": 4096, "vocab": 50272, "max_positions": 2050, "embedding": 512, "final_norm": False}, 331_196_416),
    "Gemma-2-2B": ("gemma2", {"hidden": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "ffn": 9216, "vocab": 256000}, 2_614_341_888),
    "MPT-7B": ("mpt", {"hidden": 4096, "layers": 32, "heads": 32, "ffn": 16384, "vocab": 50432, "bias": False, "norm": "layernorm without bias"}, 6_649_286_656),
    "BERT-large": ("bert", {"hidden": 1024, "layers": 24, "ffn": 4096, "vocab": 30522, "max_positions": 512}, 335_141_888),
    "RoBERTa-base": ("roberta", {"hidden": 768, "layers": 12, "ffn": 3072, "vocab": 50265, "max_positions": 514, "token_types": 1}, 124_645_632),
    "DeepSeek-V3": ("deepseek_mla_moe", V3, 671_026_404_352),
}  # fmt: skip


@pytest.mark.parametrize(("arch", "given", "expected"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_counts(arch: str, given: dict[str, Any], expected: int) -> None:
    assert parameters_of(arch, **given).total == expected


@pytest.mark.parametrize(("hidden", "ffn", "millions"), [(512, 2048, 65), (1024, 4096, 213)], ids=["base", "big"])
def test_the_transformer_of_2017(hidden: int, ffn: int, millions: int) -> None:
    """Its table 3, whose vocabulary is "about 37,000"."""
    found = parameters_of(
        "transformer", hidden=hidden, ffn=ffn, encoder_layers=6, decoder_layers=6, vocab=37000, norms_at_ends=0
    )
    assert found.total / 1e6 == pytest.approx(millions, rel=0.04)


SMALL = {"model": 64, "layers": 3, "heads": 4, "context": 32}
BUILT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({"kv_heads": 2, "tied": False}, {"kv_heads": 2}),
    "qwen2": ({"kv_heads": 2}, {"kv_heads": 2}),
    "qwen3": ({"kv_heads": 1}, {"kv_heads": 1}),
    "mistral": ({"kv_heads": 2}, {"kv_heads": 2}),
    "mixtral": ({}, {"experts": 8, "top_k": 2}),
    "gpt2": ({}, {"max_positions": 32}),
    "bloom": ({}, {}),
}
"""What is said of a family here, and how the closed form is told the same."""


@pytest.mark.parametrize("family", BUILT)
def test_the_closed_form_counts_the_model(family: str) -> None:
    here, there = BUILT[family]
    recipe = recipe_of(Spec(family, {**SMALL, **here}), vocab=100)
    assert isinstance(recipe, Recipe)
    given = {
        "hidden": 64,
        "head_dim": recipe.dims.head,
        "layers": 3,
        "heads": 4,
        "ffn": recipe.dims.ffn,
        "vocab": 100,
        "tied": recipe.tied,
        **there,
    }
    found = parameters_of(family, **given)
    assert found.total == parameters(recipe).total
    assert found.active == parameters(recipe).active
    if "experts" not in there:
        assert found.linear == sum(part.weight.numel() for part in maps_of(on_meta(recipe)).values())


def test_adapters() -> None:
    seven = maps_of_llama(hidden=4096, ffn=11008)
    assert lora_parameters(seven.values(), rank=64, layers=32) == 159_907_840
    assert prompt_parameters(tokens=8, hidden=1024) == 8192
    assert prefix_parameters(tokens=20, layers=12, width=768) == 2 * 20 * 12 * 768
    assert bottleneck_parameters(layers=2, hidden=10, size=3) == 2 * 2 * (10 * 3 + 3 + 3 * 10 + 10)
    assert bitfit_parameters(layers=1, hidden=2, ffn=8) == 4 * 2 + 8 + 2 + 2 * 2 + 2


@pytest.mark.parametrize(
    ("arch", "given", "sentence"),
    [
        ("lama", {}, "no architecture named 'lama' .did you mean 'llama'"),
        ("llama", {"hidden": 0, "layers": 1, "heads": 1, "vocab": 1, "ffn": 1}, "at least 1"),
        ("llama", {"hidden": 8, "layers": 1, "heads": 3, "kv_heads": 2, "vocab": 1, "ffn": 1}, "multiple of kv_heads"),
        ("llama", {"hidden": 8, "layers": 1, "heads": 1, "vocab": 1, "ffn": 1, "experts": 4}, "top_k"),
        ("llama", {"hidden": 8, "layers": 1, "heads": 1, "vocab": 1, "ffn": 1, "norm": "batch"}, "no norm named 'batch'"),
        ("llama", {"width": 8}, "unexpected keyword argument 'width'"),
        ("vit", {"hidden": 8, "layers": 1, "ffn": 8, "patch": 15, "image": 224}, "does not divide"),
    ],
)  # fmt: skip
def test_mistakes(arch: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parameters_of(arch, **given)


def test_families_are_settings_of_the_decoder() -> None:
    from danlu.plan.counts import Decoder

    known = {field.name for field in dataclasses.fields(Decoder)}
    assert all(set(settings) <= known for settings in FAMILIES.values())
    with pytest.raises(ConfigError, match="rank is at least 1"):
        lora_parameters([(1, 1)], rank=0)
