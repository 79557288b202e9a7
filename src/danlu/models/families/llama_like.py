"""What LLaMA and the families that follow it share: settings and names of tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from .. import rope_settings
from ..published import Settings
from ..recipe import Recipe
from ..rope_settings import WHOLE, Turns
from ..weights import Entry

GATED: dict[str, Spec] = {
    "silu": Spec("swiglu"),
    "swish": Spec("swiglu"),
    "gelu": Spec("geglu"),
    "gelu_new": Spec("geglu", {"tanh": True}),
    "gelu_pytorch_tanh": Spec("geglu", {"tanh": True}),
}
"""hidden_act → the gated feed-forward that uses it."""

LLAMA = "(2 - tied)·V·M + L·(2·M·D·(H + K) + 3·M·F + 2·M) + M"
"""How many parameters there are without biases."""

SLOW_ROPE = Spec("rope", {"base": 1e6})
"""The positions of Qwen."""


def body(settings: Settings, family: str, turns: Turns = WHOLE) -> Recipe:
    """What every LLaMA-like config.json says: sizes, rope, norm, activation, tying."""
    heads, width = settings.need("num_attention_heads", int), settings.need("hidden_size", int)
    context = settings.need("max_position_embeddings", int)
    kv_heads = settings.take("num_key_value_heads", heads)
    if heads < 1:
        raise settings.refusal("num_attention_heads", "at least 1 is needed; restore config.json from its source")
    if kv_heads < 1 or heads % kv_heads:
        because = f"heads ({heads}) must be a multiple of kv_heads ({kv_heads}); restore config.json from its source"
        raise settings.refusal("num_key_value_heads", because)
    dims = Dims(
        vocab=settings.need("vocab_size", int),
        model=width,
        layers=settings.need("num_hidden_layers", int),
        heads=heads,
        context=context,
        kv_heads=kv_heads,
        head=settings.take("head_dim", 0),
        ffn=settings.need("intermediate_size", int),
    )
    act = settings.take("hidden_act", "silu")
    if act not in GATED:
        raise settings.refusal("hidden_act", f"there are {', '.join(sorted(GATED))}")
    return Recipe(
        dims=dims,
        family=family,
        position=rope_settings.read(settings, context, turns),
        norm=Spec("rms", {"eps": settings.take("rms_norm_eps", 1e-6)}),
        ffn=GATED[act],
        tied=settings.take("tie_word_embeddings", False),
        std=settings.take("initializer_range", 0.02),
    )


def read(settings: Settings) -> Recipe:
    """LLaMA itself: biases on request, in all four projections or none."""
    recipe = body(settings, "llama")
    settings.require("sliding_window", None, "llama has no window; mistral has")
    only_full(settings)
    return biased(recipe, settings.take("attention_bias", False), settings.take("mlp_bias", False))


def biased(recipe: Recipe, attention: bool, ffn: bool = False) -> Recipe:
    """The recipe with biases in the projections of attention, or of the feed-forward."""
    spec = Spec(recipe.ffn.use, {**recipe.ffn.settings, "bias": True}) if ffn else recipe.ffn
    return replace(recipe, bias=attention, out_bias=attention, ffn=spec)


def only_full(settings: Settings) -> None:
    """Refuses layers of several kinds where the family has one."""
    if set(settings.take("layer_types", [])) - {"full_attention"}:
        raise settings.refusal("layer_types", "layers of several kinds are read for qwen2 and qwen3 only")


def windowed(size: int) -> Spec:
    """The mask of a sliding window of ``size`` tokens, oneself included."""
    return Spec("both", {"a": {"use": "causal"}, "b": {"use": "window", "size": size}})


def window_of(mask: Spec) -> int | None:
    """The size of a sliding window, None for the causal mask; raises ConfigError for any other mask."""
    if mask == Spec("causal"):
        return None
    size = Spec.read(mask.settings.get("b", "none")).settings.get("size", 0)
    if mask != windowed(size):
        raise ConfigError(f"the mask {mask.write()} cannot be published; save the model as family decoder")
    return size


def layered(settings: Settings, layers: int) -> tuple[Spec, ...]:
    """The masks of Qwen's layers: by name, or the first ``max_window_layers`` full and the others windowed."""
    size = settings.take("sliding_window", 0) if settings.take("use_sliding_window", False) else 0
    first = settings.take("max_window_layers", 28)
    kinds = settings.take(
        "layer_types", ["sliding_attention" if size and i >= first else "full_attention" for i in range(layers)]
    )
    known = {"full_attention": Spec("causal"), "sliding_attention": windowed(size) if size else None}
    masks = [known.get(kind) for kind in kinds]
    if len(masks) != layers or None in masks:
        raise settings.refusal("layer_types", "it lists full_attention, or sliding_attention with a window, a layer")
    return (masks[0],) if all(mask == masks[0] for mask in masks) else tuple(masks)  # type: ignore[return-value]


def layers_of(recipe: Recipe) -> dict[str, Any]:
    """Masks as Qwen's settings; raises ConfigError for windows of several sizes."""
    sizes = [window_of(recipe.mask(layer)) for layer in range(recipe.dims.layers)]
    used = sorted({size for size in sizes if size})
    if len(used) > 1:
        raise ConfigError(f"{recipe.family} is published with one window, found {used}; save it as family decoder")
    kinds = ["sliding_attention" if size else "full_attention" for size in sizes]
    first = sizes.index(used[0]) if used else len(sizes)
    window = {"use_sliding_window": bool(used), "sliding_window": used[0] if used else None}
    return {**window, "max_window_layers": first, "layer_types": kinds}


def settings_of(recipe: Recipe, turns: Turns = WHOLE) -> dict[str, Any]:
    """The settings that all LLaMA-like families share; raises ConfigError for a part they cannot name."""
    dims, family = recipe.dims, recipe.family
    plain = Spec(recipe.ffn.use, {k: v for k, v in recipe.ffn.settings.items() if k != "bias" and v})
    act = next((act for act, spec in GATED.items() if spec == plain), None)
    for name, found, fits in (
        ("ffn", recipe.ffn, act is not None),
        ("norm", recipe.norm, recipe.norm.use == "rms"),
        ("wiring", recipe.wiring, recipe.wiring == Spec("pre")),
    ):
        if not fits:
            raise ConfigError(f"{family} cannot be published with {name} {found.use!r}; save it as family decoder")
    return {
        "vocab_size": dims.vocab,
        "hidden_size": dims.model,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "num_key_value_heads": dims.kv_heads,
        "head_dim": dims.head,
        "intermediate_size": dims.ffn,
        "max_position_embeddings": dims.context,
        "hidden_act": act,
        "rms_norm_eps": recipe.norm.settings.get("eps", 1e-6),
        "tie_word_embeddings": recipe.tied,
        "initializer_range": recipe.std,
        "attention_dropout": 0.0,
        **rope_settings.write(recipe, turns),
    }


def write(recipe: Recipe) -> dict[str, Any]:
    """LLaMA's config.json."""
    if any(window_of(mask) for mask in recipe.masks):
        raise ConfigError("llama is published without a window; save the model as family mistral or decoder")
    bias = bool(recipe.ffn.settings.get("bias"))
    if recipe.bias != recipe.out_bias or recipe.head_norm:
        raise ConfigError(
            "llama has biases in all four projections or none, and no norm on q and k; save it as decoder"
        )
    return {**settings_of(recipe), "attention_bias": recipe.bias, "mlp_bias": bias}


def names(recipe: Recipe) -> list[Entry]:
    """Where every tensor of a LLaMA-like checkpoint goes."""
    rows = [("model.embed_tokens.weight", "embed.weight"), ("model.norm.weight", "norm.weight")]
    for layer in range(recipe.dims.layers):
        rows += [
            (f"model.layers.{layer}.{theirs}.{kind}", f"blocks.{layer}.{ours}.{kind}")
            for theirs, ours in LAYER
            for kind in ("weight", "bias")
        ]
    head = [] if recipe.tied else [Entry("lm_head.weight", ("head.weight",))]
    return [Entry(theirs, (ours,)) for theirs, ours in rows] + head


LAYER = (
    ("input_layernorm", "norms.attention"),
    ("self_attn.q_proj", "sublayers.attention.q"),
    ("self_attn.k_proj", "sublayers.attention.k"),
    ("self_attn.v_proj", "sublayers.attention.v"),
    ("self_attn.o_proj", "sublayers.attention.o"),
    ("self_attn.q_norm", "sublayers.attention.q_norm"),
    ("self_attn.k_norm", "sublayers.attention.k_norm"),
    ("post_attention_layernorm", "norms.ffn"),
    ("mlp.gate_proj", "sublayers.ffn.gate"),
    ("mlp.up_proj", "sublayers.ffn.up"),
    ("mlp.down_proj", "sublayers.ffn.down"),
)
