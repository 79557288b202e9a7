"""llama: LLaMA, Mistral within its window, and mixtures of experts like Mixtral."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ....core.spec import Spec
from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields
from . import ARCHITECTURES, Architecture, turning
from .llama_like import MAPS, entries, read, refused, sizes

EXPERTS = {"router.gate": "ffn_gate_inp", "gate": "ffn_gate_exps", "up": "ffn_up_exps", "down": "ffn_down_exps"}
DENSE = {own: name for own, name in MAPS.items() if not own.startswith("sublayers.ffn")}


@ARCHITECTURES.add("llama")
class Llama(Architecture):
    """RMSNorm before each sublayer, rope on pairs of neighbors, SwiGLU or experts of it, biases where the file has any.

    Rows of W_q and W_k (H·D, M) lie as (H, D/2, 2) there and as (H, 2, D/2) here; ``rope_freqs`` (D/2,) divides waves.
    Source: ggml-org/llama.cpp, src/models/llama.cpp; ggml-org/ggml, docs/gguf.md.
    Truth:  tests/parity/test_gguf_llama_cpp.py (ids, probabilities and greedy text of llama.cpp).
    """

    def refuses(self, recipe: Recipe) -> str | None:
        turns = turning.refused(recipe, neighbors=True, freely=True)
        return turns or refused(
            recipe,
            {
                "its feed-forward is no SwiGLU, or experts that llama does not have": _swiglu(recipe),
                "it normalizes queries and keys, and so must be like qwen3": not recipe.head_norm,
            },
        )

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        given = recipe.ffn.settings
        counts = {"expert_count": given.get("experts", 8), "expert_used_count": _router(recipe).settings.get("k", 2)}
        return {**sizes(recipe), **(counts if recipe.ffn.use == "moe" else {})}

    def read(self, fields: Fields) -> Recipe:
        recipe = read(fields, "llama")
        if not (experts := fields.take("expert_count", 0)):
            biased = recipe.bias != recipe.out_bias
            return replace(recipe, family="decoder") if biased else recipe
        router = {"use": "top_k", "k": fields.need("expert_used_count", int), "balance": 0.001, "pooled": True}
        return replace(
            recipe, family="mixtral", ffn=Spec("moe", {"experts": experts, "expert": "swiglu", "router": router})
        )

    def entries(self, recipe: Recipe) -> list[Entry]:
        if recipe.ffn.use != "moe":
            return entries(recipe, neighbors=True)
        return entries(recipe, neighbors=True, maps=DENSE) + [
            Entry(f"blk.{layer}.{theirs}.weight", (f"blocks.{layer}.sublayers.ffn.{ours}.weight",))
            for layer in range(recipe.dims.layers)
            for ours, theirs in EXPERTS.items()
        ]

    def beside(self, recipe: Recipe) -> dict[str, Tensor]:
        return turning.divisors(recipe)


def _swiglu(recipe: Recipe) -> bool:
    """A SwiGLU, or experts that are: all of them visited alike, by a router that weighs the chosen ones anew."""
    given = recipe.ffn.settings
    if recipe.ffn.use != "moe":
        return recipe.ffn.use == "swiglu" and set(given) <= {"bias"}
    router = _router(recipe)
    plain = router.use == "top_k" and router.settings.get("renormalize", True)
    return plain and given.get("expert", "swiglu") == "swiglu" and not any(map(given.get, ("shared", "bias", "frozen")))


def _router(recipe: Recipe) -> Spec:
    return Spec.read(recipe.ffn.settings.get("router", "top_k"))
