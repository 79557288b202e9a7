"""gguf: one file for llama.cpp and what is built on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...models.gguf import save_gguf
from ...models.gguf.weight_types import named
from ...nn.model import Model
from ..consumers import Consumer
from ..consumers.llama import llama_cpp
from ..loading import load
from . import EXPORTS, Export

if TYPE_CHECKING:
    from ...tokenize import Tokenizer

ROUNDED = {"f32": 0.005, "f16": 0.02, "bf16": 0.1, "q8_0": 0.2}
"""How far rounding activations to these types, as llama.cpp does, may move a law; twice as far in fewer bits."""


@EXPORTS.add("gguf")
class Gguf(Export):
    """Weights in ``type`` (f32, f16, bf16, q8_0, q4_0, q4_k; the model's own unless given), tokenizer, template, stops.

    Raises: ConfigError with the reason if llama.cpp cannot run the model, or would cut text in another way.
    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities, greedy text, conversations and stops of llama.cpp).
    """

    suffix = ".gguf"

    def __init__(self, *, type: str | None = None) -> None:
        self.type = type if type is None else named(type) and type

    def write(self, model: Model, tokenizer: Tokenizer, out: Path, *, overwrite: bool) -> None:
        save_gguf(model, tokenizer, out, type=self.type, overwrite=overwrite)

    def reopened(self, out: Path) -> tuple[Model, Tokenizer]:
        model, tokenizer = load(out, dtype=torch.float32)
        assert tokenizer is not None
        return model, tokenizer

    def consumer(self, out: Path, model: Model) -> Consumer:
        return llama_cpp(out, min(model.dims.context, LONGEST))

    def tolerance(self) -> float:
        return ROUNDED.get(self.type or "bf16", 0.4)


LONGEST = 1024
"""Tokens that llama.cpp makes room for when it is asked."""
