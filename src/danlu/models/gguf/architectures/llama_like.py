"""What llama.cpp's LLaMA and the architectures that follow it share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ....core.spec import Spec
from ....nn.dims import Dims
from ...recipe import PRE, SWIGLU, Recipe
from ...weights import Entry
from ..fields import Fields
from . import ends, turning

MAPS = {
    "norms.attention": "attn_norm",
    "sublayers.attention.v": "attn_v",
    "sublayers.attention.o": "attn_output",
    "sublayers.attention.q_norm": "attn_q_norm",
    "sublayers.attention.k_norm": "attn_k_norm",
    "norms.ffn": "ffn_norm",
    "sublayers.ffn.gate": "ffn_gate",
    "sublayers.ffn.up": "ffn_up",
    "sublayers.ffn.down": "ffn_down",
}
"""Ours → theirs, within a block; queries and keys are named by ``entries``."""


def refused(recipe: Recipe, more: Mapping[str, bool]) -> str | None:
    """Why no architecture that follows LLaMA computes this."""
    return ends.refused(
        recipe,
        {
            f"its norm is {recipe.norm.use!r}, not rms": recipe.norm.use == "rms",
            f"its wiring is {recipe.wiring.use!r}, not 'pre'": recipe.wiring == PRE,
            "it normalizes embeddings": recipe.embed_norm is None,
            **more,
        },
    )


def plain_ffn(recipe: Recipe) -> bool:
    """Whether its feed-forward is a SwiGLU without biases."""
    return recipe.ffn.use == "swiglu" and not any(recipe.ffn.settings.values())


def sizes(recipe: Recipe) -> dict[str, Any]:
    """The fields that all of them have."""
    dims = recipe.dims
    return {
        "vocab_size": dims.vocab,
        "context_length": min(ends.context(recipe), turning.longest(recipe)),
        "embedding_length": dims.model,
        "block_count": dims.layers,
        "feed_forward_length": dims.ffn,
        "attention.head_count": dims.heads,
        "attention.head_count_kv": dims.kv_heads,
        "attention.key_length": dims.head,
        "attention.value_length": dims.head,
        "attention.layer_norm_rms_epsilon": float(recipe.norm.settings.get("eps", 1e-6)),
        **turning.written(recipe),
    }


def read(fields: Fields, family: str, **position: Any) -> Recipe:
    """What every file of these architectures says, with the biases that it holds."""
    heads, width = fields.need("attention.head_count", int), fields.need("embedding_length", int)
    dims = Dims(
        vocab=fields.rows("token_embd.weight"),
        model=width,
        layers=fields.need("block_count", int),
        heads=heads,
        context=fields.need("context_length", int),
        kv_heads=fields.take("attention.head_count_kv", heads),
        head=fields.take("attention.key_length", width // max(heads, 1)),
        ffn=fields.need("feed_forward_length", int),
    )
    fields.require("attention.value_length", dims.head, "keys and values are of one size here")
    return Recipe(
        dims=dims,
        family=family,
        position=turning.read(fields, dims, **position),
        norm=Spec("rms", {"eps": fields.need("attention.layer_norm_rms_epsilon", float)}),
        bias=fields.has("blk.0.attn_q.bias"),
        out_bias=fields.has("blk.0.attn_output.bias"),
        ffn=replace(SWIGLU, settings={"bias": True}) if fields.has("blk.0.ffn_up.bias") else SWIGLU,
        tied=not fields.has("output.weight"),
    )


def entries(recipe: Recipe, *, neighbors: bool = False, maps: dict[str, str] = MAPS) -> list[Entry]:
    """``neighbors``: whether llama.cpp turns channels side by side, so that heads of halves are laid out anew."""
    dims, anew = recipe.dims, neighbors and not recipe.position.settings.get("interleaved", False)
    rows = [Entry("token_embd.weight", ("embed.weight",)), Entry("output_norm.weight", ("norm.weight",))]
    for layer in range(dims.layers):
        ours, theirs = f"blocks.{layer}", f"blk.{layer}"
        for kind in ("weight", "bias"):
            rows += [Entry(f"{theirs}.{name}.{kind}", (f"{ours}.{own}.{kind}",)) for own, name in maps.items()]
            for side, heads in (("q", dims.heads), ("k", dims.kv_heads)):
                names = f"{theirs}.attn_{side}.{kind}", (f"{ours}.sublayers.attention.{side}.{kind}",)
                rows.append(turning.Turned(*names, heads=heads) if anew else Entry(*names))
    return rows + ([] if recipe.tied else [Entry("output.weight", ("head.weight",))])
