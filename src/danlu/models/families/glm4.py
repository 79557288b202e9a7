"""GLM-4 of 2025 (GLM-4-0414), and what it shares with GLM-4 of 2024."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import PRE, Recipe
from ..rope_settings import Turns
from ..weights import Entry
from . import Published, family
from .llama_like import body, only_full, settings_of, window_of
from .sizes import gated

EPS = 1.5625e-07
HALF_ROPE = Spec("rope", {"part": 0.5, "interleaved": True})
SANDWICH = Spec("sandwich")
HALF = Turns(part=0.5, interleaved=True)


def read_as(settings: Settings, family: str, wiring: Spec) -> Recipe:
    """What both say: LLaMA's settings, and which part of each head turns (pairs are neighbors)."""
    recipe = body(settings.assuming("rms_norm_eps", EPS).assuming("head_dim", 128), family, HALF)
    only_full(settings)
    return replace(recipe, wiring=wiring, bias=settings.take("attention_bias", True))


def write_as(recipe: Recipe, wiring: Spec) -> dict[str, Any]:
    """What ``read_as`` reads."""
    fits = recipe.wiring == wiring and not recipe.ffn.settings.get("bias") and not recipe.out_bias
    if not fits or recipe.head_norm or any(window_of(mask) for mask in recipe.masks):
        raise ConfigError(
            f"{recipe.family} is published with wiring {wiring.use!r}, full attention and no biases but "
            "those of q, k and v; save the model as family decoder"
        )
    pad = {"pad_token_id": None}  # or transformers takes a token that only the published vocabulary has
    return {**settings_of(replace(recipe, wiring=PRE), HALF), "attention_bias": recipe.bias, **pad}


def read(settings: Settings) -> Recipe:
    """GLM-4-0414: norms before and after each sublayer."""
    return read_as(settings, "glm4", SANDWICH)


def write(recipe: Recipe) -> dict[str, Any]:
    """GLM-4-0414's config.json."""
    return write_as(recipe, SANDWICH)


def names(recipe: Recipe) -> list[Entry]:
    """The gate and what it gates lie in one tensor."""
    entries = [Entry("model.embed_tokens.weight", ("embed.weight",)), Entry("model.norm.weight", ("norm.weight",))]
    for layer in range(recipe.dims.layers):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            entries += [Entry(f"{theirs}.{name}.{kind}", (f"{ours}.{own}.{kind}",)) for name, own in LAYER.items()]
        fused = tuple(f"{ours}.sublayers.ffn.{part}.weight" for part in ("gate", "up"))
        entries.append(Entry(f"{theirs}.mlp.gate_up_proj.weight", fused))
    return entries + ([] if recipe.tied else [Entry("lm_head.weight", ("head.weight",))])


LAYER = {
    "input_layernorm": "norms.attention",
    "post_self_attn_layernorm": "out_norms.attention",
    "post_attention_layernorm": "norms.ffn",
    "post_mlp_layernorm": "out_norms.ffn",
    "self_attn.q_proj": "sublayers.attention.q",
    "self_attn.k_proj": "sublayers.attention.k",
    "self_attn.v_proj": "sublayers.attention.v",
    "self_attn.o_proj": "sublayers.attention.o",
    "mlp.down_proj": "sublayers.ffn.down",
}


@family(
    "glm4",
    Published("glm4", "Glm4ForCausalLM", read, write, names),
    gated,
    formula="(2 - tied)·V·M + L·(2·M·D·(H + K) + bias·D·(H + 2·K) + 3·M·F + 4·M) + M",
)
def glm4(
    dims: Dims,
    *,
    position: Spec | str | dict = HALF_ROPE,
    eps: float = EPS,
    bias: bool = True,
    tied: bool = False,
) -> Recipe:
    """LLaMA with norms before and after each sublayer, biases on q, k and v, and positions that turn half of a head.

    x ← x + rms(attention(rms(x)));  x ← x + rms(swiglu(rms(x)))
    Source: GLM team 2024, arXiv:2406.12793, §2 (architecture); the config.json of GLM-4-9B-0414 (norms).
    Truth:  tests/parity/test_families_glm4.py (logits and gradients of transformers).
    """
    return Recipe(
        dims=dims, family="glm4", position=Spec.read(position), norm=Spec("rms", {"eps": eps}), wiring=SANDWICH,
        bias=bias, tied=tied,
    )  # fmt: skip
