"""The vision transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..forms.vision import VisionRecipe
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from . import Published, family
from .bert_like import act_name, act_of
from .gpt2 import PLAIN

POOLERS = {"ViTForImageClassification": Spec("cls"), "ViTModel": Spec("first")}
"""architectures → what makes one vector of an image."""
OTHERS = r"^(vit\.)?pooler\.dense\.(weight|bias)$|^classifier\.(weight|bias)$"


def read(settings: Settings) -> VisionRecipe:
    """Pre-norm, learned positions over patches; the labels of a classifier are id2label."""
    named = settings.take("architectures", []) or ["ViTForImageClassification"]
    if named[0] not in POOLERS:
        raise settings.refusal("architectures", f"there are {', '.join(POOLERS)}")
    width = settings.need("hidden_size", int)
    image, patch = (_side(settings, key) for key in ("image_size", "patch_size"))
    settings.require("pooler_act", "tanh", "what is pooled goes through tanh")
    settings.require("pooler_output_size", width, "what is pooled is as wide as the model")
    settings.take("encoder_stride", 16)  # of a decoder of pixels that is not part of these classes
    settings.take("attention_probs_dropout_prob", 0.0)
    dims = Dims(
        vocab=1, model=width, layers=settings.need("num_hidden_layers", int),
        heads=settings.need("num_attention_heads", int), context=1 + (image // patch) ** 2,
        ffn=settings.take("intermediate_size", 4 * width),
    )  # fmt: skip
    labels = settings.take("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # transformers leaves out its default of two
    scored = tuple(str(labels[key]) for key in sorted(labels, key=int)) if named[0] != "ViTModel" else ()
    return _recipe(
        dims, image, patch, settings.take("num_channels", 3), scored, POOLERS[named[0]],
        act=act_of(settings, "gelu"), eps=settings.take("layer_norm_eps", 1e-12),
        dropout=settings.take("hidden_dropout_prob", 0.0), bias=settings.take("qkv_bias", True),
        std=settings.take("initializer_range", 0.02),
    )  # fmt: skip


def _side(settings: Settings, key: str) -> int:
    """A side in pixels; pairs of equal numbers are squares too."""
    raw: Any = settings.raw.get(key)
    if isinstance(raw, list) and len(raw) == 2 and raw[0] == raw[1]:
        settings.take(key, None)
        return int(raw[0])
    return settings.need(key, int)


def _recipe(
    dims: Dims, image: int, patch: int, channels: int, labels: tuple[str, ...], pooler: Spec, *,
    act: str, eps: float, dropout: float, bias: bool = True, std: float = 0.02,
) -> VisionRecipe:  # fmt: skip
    encoder = Recipe(
        dims=dims, family="vit", position=Spec("learned"), norm=Spec("layer", {"eps": eps}), ffn=PLAIN[act],
        masks=(Spec("full"),), head=None, bias=bias, out_bias=True, tied=False, dropout=dropout, std=std,
    )  # fmt: skip
    return VisionRecipe(
        dims=dims, family="vit", std=std, encoder=encoder, image=image, patch=patch, channels=channels,
        pooler=pooler, labels=labels,
    )  # fmt: skip


def write(recipe: VisionRecipe) -> dict[str, Any]:
    """ViT's config.json; raises ConfigError for parts that it cannot name."""
    dims, encoder = recipe.dims, recipe.encoder
    act, eps = act_name(encoder), encoder.norm.settings.get("eps", 1e-5)
    name = next((name for name, pooler in POOLERS.items() if pooler == recipe.pooler), "")
    rebuilt = _recipe(
        dims, recipe.image, recipe.patch, recipe.channels, recipe.labels, recipe.pooler, act=act, eps=eps,
        dropout=encoder.dropout, bias=encoder.bias, std=recipe.std,
    )  # fmt: skip
    if recipe != rebuilt or bool(recipe.labels) != (name == "ViTForImageClassification"):
        raise ConfigError("vit is published with classes from 'cls' or with the pooler 'first', and no other parts")
    labels = {
        "id2label": {str(i): label for i, label in enumerate(recipe.labels)},
        "label2id": {label: i for i, label in enumerate(recipe.labels)},
    }
    return {
        "architectures": [name],
        "hidden_size": dims.model,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "intermediate_size": dims.ffn,
        "image_size": recipe.image,
        "patch_size": recipe.patch,
        "num_channels": recipe.channels,
        "qkv_bias": encoder.bias,
        "hidden_act": act,
        "layer_norm_eps": eps,
        "hidden_dropout_prob": encoder.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": recipe.std,
        **(labels if recipe.labels else {}),
    }


LAYER = (
    ("layernorm_before", "norms.attention"),
    ("attention.attention.query", "sublayers.attention.q"),
    ("attention.attention.key", "sublayers.attention.k"),
    ("attention.attention.value", "sublayers.attention.v"),
    ("attention.output.dense", "sublayers.attention.o"),
    ("layernorm_after", "norms.ffn"),
    ("intermediate.dense", "sublayers.ffn.up"),
    ("output.dense", "sublayers.ffn.down"),
)


def names(recipe: VisionRecipe) -> list[Entry]:
    """The class token and the positions have axes of size 1 before ours; a model without classes lacks the root."""
    rows = [("embeddings.patch_embeddings.projection", "patches"), ("layernorm", "encoder.norm")]
    for layer in range(recipe.dims.layers):
        rows += [(f"encoder.layer.{layer}.{theirs}", f"encoder.blocks.{layer}.{ours}") for theirs, ours in LAYER]
    pairs = [(f"{theirs}.{kind}", f"{ours}.{kind}", 0) for theirs, ours in rows for kind in ("weight", "bias")]
    pairs += [
        ("embeddings.cls_token", "patches.token", 2),
        ("embeddings.position_embeddings", "encoder.position.table.weight", 1),
        ("pooler.dense.weight", "pooler.dense.weight", 0),
        ("pooler.dense.bias", "pooler.dense.bias", 0),
    ]
    found = []
    for theirs, ours, lead in pairs:
        spelled = (f"vit.{theirs}", theirs) if recipe.labels else (theirs, f"vit.{theirs}")
        found.append(Entry(spelled[0], (ours,), aliases=spelled[1:], lead=lead))
    return found + [Entry(f"classifier.{kind}", (f"head.{kind}",)) for kind in ("weight", "bias")]


def sizes(*, vocab: int, model: int, layers: int, heads: int, ffn: int = 0) -> Dims:
    """An image model has no tokens, so ``vocab`` is left aside; how many patches it reads, image and patch say."""
    return Dims(vocab=1, model=model, layers=layers, heads=heads, context=1, ffn=ffn)


@family(
    "vit",
    Published("vit", "ViTForImageClassification", read, write, names, others=OTHERS),
    sizes,
    formula="(C + 1)·M + (channels·patch² + 1)·M + L·(4·M² + 2·M·F + 9·M + F) + 2·M + classes·(M + 1)",
)
def vit(
    dims: Dims, *, image: int, patch: int, channels: int = 3, classes: int = 1000, eps: float = 1e-12,
    dropout: float = 0.0,
) -> VisionRecipe:  # fmt: skip
    """An encoder over squares of an image, classified from a token that stands before them.

    x_0 = [t; W p_1; …; W p_N] + P,  N = (image / patch)²;  logits = W_c ln(x_L)_0 + b_c
    ``classes`` 0 leaves the classifier out and pools with tanh(W h_0 + b) instead.
    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, §3.1.
    Truth:  tests/parity/test_families_vit.py (logits and gradients of transformers).
    """
    if patch < 1 or image % patch:
        raise ConfigError(f"image ({image}) must be a multiple of patch ({patch})")
    sized = replace(dims, context=1 + (image // patch) ** 2)
    pooler = POOLERS["ViTForImageClassification" if classes else "ViTModel"]
    labels = tuple(f"LABEL_{i}" for i in range(classes))
    return _recipe(sized, image, patch, channels, labels, pooler, act="gelu", eps=eps, dropout=dropout)
