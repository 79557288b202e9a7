"""ALBERT."""

from __future__ import annotations

from typing import Any

from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from . import Published, family
from .bert_like import (
    EMBEDDINGS,
    Ends,
    act_name,
    act_of,
    class_of,
    dims_of,
    encoder,
    ends_of,
    entries,
    head_of,
    heads,
    settings_of,
    shared,
)  # fmt: skip
from .sizes import plain

CLASSES = {
    "AlbertForPreTraining": Ends(head=True, pooler=True, classes=2),
    "AlbertForMaskedLM": Ends(head=True),
    "AlbertModel": Ends(pooler=True),
}
LAYER = (
    ("attention.query", "sublayers.attention.q"),
    ("attention.key", "sublayers.attention.k"),
    ("attention.value", "sublayers.attention.v"),
    ("attention.dense", "sublayers.attention.o"),
    ("attention.LayerNorm", "norms.attention"),
    ("ffn", "sublayers.ffn.up"),
    ("ffn_output", "sublayers.ffn.down"),
    ("full_layer_layer_norm", "norms.ffn"),
)
HEADS = (
    ("predictions.dense", "head.inner"),
    ("predictions.LayerNorm", "head.norm"),
    ("sop_classifier.classifier", "classify"),
)
BESIDE = r"^(albert\.)?embeddings\.position_ids$"
OTHERS = (
    r"^(albert\.)?pooler\.(weight|bias)$|^sop_classifier\.classifier\.(weight|bias)$|"
    r"^predictions\.(bias|(dense|decoder|LayerNorm)\.(weight|bias))$"
)


def read(settings: Settings) -> Recipe:
    """Groups of layers share weights; a group is one layer, as in all published models."""
    settings.require("inner_group_num", 1, "a group of layers is one layer here")
    for key in ("down_scale_factor", "gap_size", "net_structure_type", "layers_to_keep"):
        settings.take(key, None)  # of the original code; they name no part of the model
    ends, act, eps = ends_of(settings, CLASSES), act_of(settings, "gelu_new"), settings.take("layer_norm_eps", 1e-12)
    embed, groups = settings.take("embedding_size", 128), settings.take("num_hidden_groups", 1)
    return _recipe(dims_of(settings), act, eps, ends, embed=embed, distinct=groups, **shared(settings))


def _recipe(dims: Dims, act: str, eps: float, ends: Ends, **more: Any) -> Recipe:
    head = head_of(act, eps) if ends.head else None
    return encoder(dims, "albert", act, eps, ends, head, position=Spec("learned"), **more)


def write(recipe: Recipe) -> dict[str, Any]:
    """ALBERT's config.json."""
    act, name, eps = act_name(recipe), class_of(recipe, CLASSES), recipe.norm.settings.get("eps", 1e-5)
    groups = recipe.distinct or recipe.dims.layers
    rebuilt = _recipe(
        recipe.dims, act, eps, CLASSES[name], token_types=recipe.token_types, dropout=recipe.dropout, std=recipe.std,
        tied=recipe.tied, embed=recipe.embed or recipe.dims.model, distinct=groups,
    )  # fmt: skip
    plain = settings_of(recipe, rebuilt, name, act)
    return {**plain, "embedding_size": recipe.embed, "num_hidden_groups": groups, "inner_group_num": 1}


def names(recipe: Recipe) -> list[Entry]:
    """Every group of layers once, under the first layer that it is."""
    layers = recipe.dims.layers
    first = sorted({recipe.twin(layer) for layer in range(layers)})
    groups = [
        (f"encoder.albert_layer_groups.{group}.albert_layers.0.{theirs}", f"blocks.{layer}.{ours}")
        for group, layer in enumerate(first)
        for theirs, ours in LAYER
    ]
    rows = [*EMBEDDINGS, ("encoder.embedding_hidden_mapping_in", "widen"), *groups, ("pooler", "pooler.dense")]
    bare = recipe.head is None and not recipe.classes
    bias = "predictions.bias" if recipe.tied else "predictions.decoder.bias"
    return entries(rows, "albert", bare) + heads(HEADS, "predictions.decoder", bias)


@family(
    "albert",
    Published("albert", "AlbertForPreTraining", read, write, names, BESIDE, OTHERS),
    plain,
    formula="(V·(2 - tied) + C + token_types)·embed + distinct·(4·M² + 2·M·F + 9·M + F) + M² + 2·M·embed + 4·M + "
    "5·embed + V + 2",
)
def albert(
    dims: Dims, *, embed: int = 128, groups: int = 1, types: int = 2, eps: float = 1e-12, dropout: float = 0.0,
    tied: bool = True,
) -> Recipe:  # fmt: skip
    """BERT with narrow token vectors and ``groups`` of layers that share their weights; it orders two sentences.

    x_0 = W ln(E[token] + P[position] + S[type]) + b,  W: (M, embed);  layer i has the weights of group
    ⌊i · groups / layers⌋
    Source: Lan et al. 2020, arXiv:1909.11942, §3.1.
    Truth:  tests/parity/test_families_albert.py (logits and gradients of transformers).
    """
    ends = CLASSES["AlbertForPreTraining"]
    return _recipe(
        dims, "gelu_new", eps, ends, embed=embed, distinct=groups, token_types=types, dropout=dropout, tied=tied
    )
