"""A LLaMA whose every weight is a formula: equal in two processes that share no library but torch."""

from __future__ import annotations

import json
import random
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

VOCAB, WIDTH, FFN, HEADS, KV_HEADS = 40, 16, 32, 4, 2
PAD, END = 0, 1


def config(*, layers: int, tied: bool) -> dict[str, Any]:
    """What transformers calls the settings, and what config.json says."""
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": WIDTH,
        "intermediate_size": FFN, "num_hidden_layers": layers, "num_attention_heads": HEADS, "head_dim": WIDTH // HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "rope_theta": 10000.0, "tie_word_embeddings": tied, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": 2, "eos_token_id": END, "pad_token_id": PAD,
    }  # fmt: skip


def weights(*, layers: int, tied: bool, seed: int) -> dict[str, Tensor]:
    """By the names of published checkpoints; large enough that the model decides firmly."""
    narrow = WIDTH // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, WIDTH)}
    for layer in range(layers):
        inside = {
            "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (narrow, WIDTH), "self_attn.v_proj": (narrow, WIDTH),
            "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (FFN, WIDTH), "mlp.up_proj": (FFN, WIDTH),
            "mlp.down_proj": (WIDTH, FFN), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
    shapes["model.norm.weight"] = (WIDTH,)
    if not tied:
        shapes["lm_head.weight"] = (VOCAB, WIDTH)
    source = random.Random(seed)
    return {name: _drawn(source, shape) for name, shape in shapes.items()}


def _drawn(source: random.Random, shape: tuple[int, ...]) -> Tensor:
    """Even in [-1, 1) for tables, near 1 for norms, and such that sums keep their size for maps."""
    numbers = torch.tensor([source.random() * 2 - 1 for _ in range(prod(shape))], dtype=torch.float64).view(shape)
    if len(shape) == 1:
        return (1 + numbers / 4).float()
    return (numbers if shape[0] == VOCAB else numbers * (2 / WIDTH**0.5)).float()


def write(folder: Path, *, layers: int, tied: bool, seed: int) -> Path:
    """A model directory."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(layers=layers, tied=tied)))
    save_file(weights(layers=layers, tied=tied, seed=seed), folder / "model.safetensors", {"format": "pt"})
    return folder
