"""qwen2: LLaMA with biases on queries, keys and values."""

from __future__ import annotations

from typing import Any

from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields
from . import ARCHITECTURES, Architecture, turning
from .llama_like import entries, plain_ffn, read, refused, sizes


@ARCHITECTURES.add("qwen2")
class Qwen2(Architecture):
    """RMSNorm before each sublayer, rope on pairs of halves, SwiGLU, biases on q, k and v (H·D,) and nowhere else.

    Source: ggml-org/llama.cpp, src/models/qwen2.cpp; ggml-org/ggml, docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities and greedy text of llama.cpp).
    """

    def refuses(self, recipe: Recipe) -> str | None:
        turns = turning.refused(recipe, neighbors=False, freely=False)
        return turns or refused(
            recipe,
            {
                "its feed-forward is no plain SwiGLU": plain_ffn(recipe),
                "it has other biases than those of q, k and v": recipe.bias and not recipe.out_bias,
                "it normalizes queries and keys": not recipe.head_norm,
            },
        )

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        return sizes(recipe)

    def read(self, fields: Fields) -> Recipe:
        return read(fields, "qwen2")

    def entries(self, recipe: Recipe) -> list[Entry]:
        return entries(recipe)
