"""Small models of the kinds that llama.cpp knows, and llama.cpp's answers to them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import torch
from talkers import small_model

import danlu
from danlu.assembly.comparing import Agreement, agreement
from danlu.assembly.consumers.llama_server import LlamaServer
from danlu.models import Stack
from danlu.models.gguf import save_gguf
from danlu.nn.model import Model
from danlu.tokenize import Tokenizer

KINDS: dict[str, dict] = {
    "llama": {"kv_heads": 2},
    "mistral": {"kv_heads": 2, "window": 40},
    "qwen2": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "head": 16},
    "mixtral": {"kv_heads": 2, "experts": 4},
    "gpt2": {},
    "bloom": {},
}
"""Family → settings of a small model."""


def small(use: str, **settings: object) -> Stack:
    """A decided model of a family; norms and biases are drawn too, so that a tensor in the wrong place is seen."""
    model = small_model(use, **{**KINDS.get(use, {}), **settings})
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.2)
    return model


def heard(
    file: Path, tokenizer: Tokenizer, *, tolerance: float, steps: int = 12, model: Model | None = None
) -> Agreement:
    """How llama.cpp agrees with a model, or with what danlu reads in the file itself."""
    ours = model or danlu.load(str(file), dtype=torch.float32)[0]
    stops = set(tokenizer.stops)
    with closing(LlamaServer(file, ours.dims.context)) as consumer:
        return agreement(
            consumer, ours, tokenizer, "the cat 你好", steps=steps, tolerance=tolerance, stops=stops, texts=TEXTS
        )


TEXTS = ("the cat said: 你好 1234, it's\n\n fine! ", "Größe 👩🏽‍💻 नमस्ते")


def written(model: Model, tokenizer: Tokenizer, folder: Path, type_: str | None = None) -> Path:
    return save_gguf(model, tokenizer, folder / "model.gguf", type=type_, overwrite=True)
