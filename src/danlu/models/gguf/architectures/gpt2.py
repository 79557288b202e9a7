"""gpt2."""

from __future__ import annotations

from typing import Any

from ....core.spec import Spec
from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields
from . import ARCHITECTURES, Architecture, fused


@ARCHITECTURES.add("gpt2")
class Gpt2(Architecture):
    """LayerNorm before each sublayer, learned positions (C, M), GELU by tanh, biases everywhere, W_qkv (3·M, M).

    Source: ggml-org/llama.cpp, src/models/gpt2.cpp; ggml-org/ggml, docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities and greedy text of llama.cpp).
    """

    def refuses(self, recipe: Recipe) -> str | None:
        return fused.refused(recipe, "learned", {"it normalizes embeddings": recipe.embed_norm is None})

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        return fused.sizes(recipe) | {"context_length": recipe.dims.context}

    def read(self, fields: Fields) -> Recipe:
        return Recipe(
            dims=fused.dims_of(fields),
            family="gpt2",
            position=Spec("learned"),
            norm=Spec("layer", {"eps": fields.need("attention.layer_norm_epsilon", float)}),
            ffn=fused.TANH,
            bias=True,
            out_bias=True,
            tied=not fields.has("output.weight"),
        )

    def entries(self, recipe: Recipe) -> list[Entry]:
        return [Entry("position_embd.weight", ("position.table.weight",)), *fused.entries(recipe)]
