"""qwen3: LLaMA with normalized queries and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields
from . import ARCHITECTURES, Architecture, turning
from .llama_like import entries, plain_ffn, read, refused, sizes


@ARCHITECTURES.add("qwen3")
class Qwen3(Architecture):
    """RMSNorm before each sublayer and on each head's queries and keys (D,), rope on pairs of halves, SwiGLU, no bias.

    Source: ggml-org/llama.cpp, src/models/qwen3.cpp; ggml-org/ggml, docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities and greedy text of llama.cpp).
    """

    def refuses(self, recipe: Recipe) -> str | None:
        turns = turning.refused(recipe, neighbors=False, freely=False)
        return turns or refused(
            recipe,
            {
                "its feed-forward is no plain SwiGLU": plain_ffn(recipe),
                "it has biases": not recipe.bias and not recipe.out_bias,
                "it does not normalize queries and keys like the stream": recipe.head_norm == recipe.norm,
            },
        )

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        return sizes(recipe)

    def read(self, fields: Fields) -> Recipe:
        recipe = read(fields, "qwen3")
        return replace(recipe, head_norm=recipe.norm)

    def entries(self, recipe: Recipe) -> list[Entry]:
        return entries(recipe)
