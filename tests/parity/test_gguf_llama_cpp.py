"""Models in GGUF files against llama.cpp itself: ids, the law of the next token, greedy text, conversations, stops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gguf_models import KINDS, heard, small, written
from talkers import small_tokenizer

import danlu
from danlu.core.errors import ConfigError
from danlu.tokenize import Tokenizer

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

EXACT, TABLE = 1e-4, 5e-3
"""Shares of the spread of logits; llama.cpp looks up its GELU in a table of half precision."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("gguf"))


@pytest.mark.parametrize("use", KINDS)
def test_llama_cpp_computes_the_model_that_was_written(use: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small(use)
    found = heard(
        written(model, tokenizer, tmp_path),
        tokenizer,
        tolerance=TABLE if use in ("gpt2", "bloom") else EXACT,
        model=model,
    )
    assert found.same == found.steps > 2
    assert found.conversations == 3


ROPES = {
    "theta": {"use": "rope", "base": 5e5},
    "neighbors": {"use": "rope", "interleaved": True},
    "linear": {"use": "rope", "scaling": {"use": "interpolation", "factor": 4.0}},
    "llama3": {"use": "rope", "scaling": {"use": "llama3", "factor": 8.0, "original": 32}},
    "ntk_parts": {"use": "rope", "scaling": {"use": "ntk_parts", "factor": 4.0, "original": 24}},
    "ntk": {"use": "rope", "scaling": {"use": "ntk", "factor": 4.0}},
    "yarn": {"use": "rope", "scaling": {"use": "yarn", "factor": 4.0, "original": 24}},
    "yarn bent": {"use": "rope", "scaling": {"use": "yarn", "factor": 4.0, "original": 24, "fast": 8.0, "slow": 2.0}},
}


@pytest.mark.parametrize("rope", ROPES)
def test_positions_turn_there_as_here(rope: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small("decoder", position=ROPES[rope], tied=False)
    found = heard(written(model, tokenizer, tmp_path), tokenizer, tolerance=EXACT, model=model)
    assert found.same == found.steps


@pytest.mark.parametrize("use", ["qwen2", "qwen3"])
def test_yarn_by_halves(use: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small(use, position=ROPES["yarn"], tied=True)
    heard(written(model, tokenizer, tmp_path), tokenizer, tolerance=EXACT, model=model)


def test_biases_and_untied_heads(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small("decoder", bias=True, ffn={"use": "swiglu", "bias": True}, tied=False)
    heard(written(model, tokenizer, tmp_path), tokenizer, tolerance=EXACT, model=model)


@pytest.mark.parametrize(
    ("type_", "tolerance"), [("f16", 0.02), ("bf16", 0.1), ("q8_0", 0.2), ("q4_0", 0.3), ("q4_k", 0.3)]
)
def test_llama_cpp_reads_the_weights_that_danlu_reads(
    type_: str, tolerance: float, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Activations are rounded by llama.cpp in these types, so laws are near; a scale in the wrong place is far."""
    model = small("llama", model=256, heads=8, ffn=512, layers=2)
    heard(written(model, tokenizer, tmp_path, type_), tokenizer, tolerance=tolerance)


def test_windows_end_the_text_that_llama_cpp_is_given(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Its llama keeps no window, so the file's texts end where the window would begin to matter."""
    from danlu.core.gguf import opened

    with opened(written(small("mistral"), tokenizer, tmp_path)) as file:
        assert file.fields["llama.context_length"] == 40


def test_bos_and_eos_go_around_a_text(tmp_path: Path) -> None:
    import json

    tokenizer = small_tokenizer(tmp_path)
    description = tokenizer.description
    ends = {"<|im_start|>": 1, "<|endoftext|>": 0}
    special = {text: {"id": text, "ids": [n], "tokens": [text]} for text, n in ends.items()}
    single = [
        {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
    ]
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [],
        "special_tokens": special,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<|im_start|>", "eos_token": "<|endoftext|>"}')
    tokenizer = danlu.load_tokenizer(tmp_path)
    assert tokenizer.encode("a", special=True)[::2] == [1, 0]
    heard(written(small("llama"), tokenizer, tmp_path), tokenizer, tolerance=EXACT)


REFUSED = {
    "norm": {"norm": "layer"},
    "wiring": {"wiring": "post"},
    "position": {"position": "fire"},
    "mask": {"mask": {"use": "strided", "stride": 4}},
    "feed-forward": {"ffn": "geglu"},
    "another part": {"position": {"use": "rope", "part": 0.5}},
    "gain": {"position": {"use": "rope", "scaling": {"use": "yarn", "factor": 4.0, "original": 24, "gain": 1.0}}},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_models_that_it_cannot_run_are_refused_with_the_reason(
    reason: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"llama.cpp cannot run this model.*({reason}|masks|no SwiGLU)"):
        written(small("decoder", **REFUSED[reason]), tokenizer, tmp_path)
    assert not (tmp_path / "model.gguf").exists()


def test_a_row_that_is_not_finite_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small("llama")
    with torch.no_grad():
        model.get_parameter("blocks.1.sublayers.ffn.up.weight")[3, 4] = torch.nan
    with pytest.raises(ConfigError, match=r"blk.1.ffn_up.weight.*not finite"):
        written(model, tokenizer, tmp_path)
    assert not (tmp_path / "model.gguf").exists()
