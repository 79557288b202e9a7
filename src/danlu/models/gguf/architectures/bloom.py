"""bloom."""

from __future__ import annotations

from typing import Any

from ....core.spec import Spec
from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields
from . import ARCHITECTURES, Architecture, fused


@ARCHITECTURES.add("bloom")
class Bloom(Architecture):
    """LayerNorm before each sublayer and on embeddings, ALiBi, GELU by tanh, biases everywhere, W_qkv (3·M, M).

    Source: ggml-org/llama.cpp, src/models/bloom.cpp; ggml-org/ggml, docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities and greedy text of llama.cpp).
    """

    def refuses(self, recipe: Recipe) -> str | None:
        same = recipe.embed_norm == recipe.norm
        return fused.refused(recipe, "alibi", {"it does not normalize embeddings like the stream": same})

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        return fused.sizes(recipe)

    def read(self, fields: Fields) -> Recipe:
        norm = Spec("layer", {"eps": fields.need("attention.layer_norm_epsilon", float)})
        return Recipe(
            dims=fused.dims_of(fields),
            family="bloom",
            position=Spec("alibi"),
            norm=norm,
            embed_norm=norm,
            ffn=fused.TANH,
            bias=True,
            out_bias=True,
            tied=not fields.has("output.weight"),
        )

    def entries(self, recipe: Recipe) -> list[Entry]:
        ends = [Entry(f"token_embd_norm.{kind}", (f"embed_norm.{kind}",)) for kind in ("weight", "bias")]
        return [*ends, *fused.entries(recipe)]
