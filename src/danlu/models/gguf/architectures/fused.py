"""What llama.cpp's GPT-2 and BLOOM share: LayerNorm, biases everywhere, q, k and v in one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....nn.dims import Dims
from ...families.gpt2 import PLAIN
from ...recipe import PRE, Recipe
from ...weights import Entry
from ..fields import Fields
from . import ends

TANH = PLAIN["gelu_new"]
MAPS = {
    "norms.attention": "attn_norm",
    "sublayers.attention.o": "attn_output",
    "norms.ffn": "ffn_norm",
    "sublayers.ffn.up": "ffn_up",
    "sublayers.ffn.down": "ffn_down",
}


def refused(recipe: Recipe, position: str, more: Mapping[str, bool]) -> str | None:
    dims = recipe.dims
    return ends.refused(
        recipe,
        {
            f"its positions are {recipe.position.use!r}, not {position!r}": recipe.position.use == position,
            "its positions begin elsewhere than at 0": not any(recipe.position.settings.values()),
            "its norm is not layer, with biases": recipe.norm.use == "layer" and recipe.norm.settings.get("bias", True),
            f"its wiring is {recipe.wiring.use!r}, not 'pre'": recipe.wiring == PRE,
            "its feed-forward is no GELU (by tanh) with biases": recipe.ffn == TANH,
            "its attention lacks biases, or normalizes queries and keys": recipe.bias
            and recipe.out_bias
            and not recipe.head_norm,
            "its heads are not model / heads wide, or share keys": dims.heads * dims.head == dims.model
            and dims.kv_heads == dims.heads,
            **more,
        },
    )


def sizes(recipe: Recipe) -> dict[str, Any]:
    dims = recipe.dims
    return {
        "vocab_size": dims.vocab,
        "context_length": ends.context(recipe),
        "embedding_length": dims.model,
        "block_count": dims.layers,
        "feed_forward_length": dims.ffn,
        "attention.head_count": dims.heads,
        "attention.head_count_kv": dims.kv_heads,
        "attention.layer_norm_epsilon": float(recipe.norm.settings.get("eps", 1e-5)),
    }


def dims_of(fields: Fields) -> Dims:
    width = fields.need("embedding_length", int)
    return Dims(
        vocab=fields.rows("token_embd.weight"),
        model=width,
        layers=fields.need("block_count", int),
        heads=fields.need("attention.head_count", int),
        context=fields.need("context_length", int),
        ffn=fields.take("feed_forward_length", 4 * width),
    )


def entries(recipe: Recipe) -> list[Entry]:
    rows = [Entry("token_embd.weight", ("embed.weight",))]
    for kind in ("weight", "bias"):
        rows.append(Entry(f"output_norm.{kind}", (f"norm.{kind}",)))
        for layer in range(recipe.dims.layers):
            ours, theirs = f"blocks.{layer}", f"blk.{layer}"
            fused = tuple(f"{ours}.sublayers.attention.{part}.{kind}" for part in "qkv")
            rows += [Entry(f"{theirs}.{name}.{kind}", (f"{ours}.{own}.{kind}",)) for own, name in MAPS.items()]
            rows.append(Entry(f"{theirs}.attn_qkv.{kind}", fused))
    return rows + ([] if recipe.tied else [Entry("output.weight", ("head.weight",))])
