"""Qwen2 and Qwen3: logits and directories are those of transformers."""

from __future__ import annotations

import pytest
import torch

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
WINDOWS = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
FORMS = {
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2, window not used": ("qwen2", {"sliding_window": 6, "max_window_layers": 1}),
    "qwen2, windows": ("qwen2", WINDOWS),
    "qwen2, windows by name": (
        "qwen2",
        {**WINDOWS, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "qwen2, yarn": (
        "qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "rope_theta": 1e6,
            }
        },
    ),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3, wide heads by default": ("qwen3", {}),
    "qwen3, tied and biased": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True, "attention_bias": True}),
    "qwen3, windows": ("qwen3", {"head_dim": 8, **WINDOWS}),
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    kind, settings = FORMS[form]
    theirs, ours, _ = twins(kind, **{**SIZES, **settings})
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)
