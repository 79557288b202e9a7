"""Qwen3: LLaMA with normalized queries and keys."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from . import Published, family
from .llama_like import LLAMA, SLOW_ROPE, biased, body, layered, layers_of, names, settings_of
from .sizes import gated


def read(settings: Settings) -> Recipe:
    """The head size is 128 unless config.json says otherwise."""
    settings = settings.assuming("head_dim", 128)
    recipe = biased(body(settings, "qwen3"), settings.take("attention_bias", False))
    return replace(recipe, head_norm=recipe.norm, masks=layered(settings, recipe.dims.layers))


def write(recipe: Recipe) -> dict[str, Any]:
    """Qwen3's config.json."""
    if recipe.head_norm != recipe.norm or recipe.bias != recipe.out_bias or recipe.ffn.settings.get("bias"):
        raise ConfigError(
            "qwen3 normalizes q and k like the stream, with no bias in its ffn; save it as family decoder"
        )
    return {**settings_of(recipe), **layers_of(recipe), "attention_bias": recipe.bias}


@family(
    "qwen3", Published("qwen3", "Qwen3ForCausalLM", read, write, names), partial(gated, head=128), f"{LLAMA} + 2·L·D"
)
def qwen3(dims: Dims, *, position: Spec | str | dict = SLOW_ROPE, eps: float = 1e-6, tied: bool = True) -> Recipe:
    """LLaMA whose queries and keys are normalized by head before they are rotated; no biases.

    q = rope(rms(W_q x)), k = rope(rms(W_k x)), each over the channels of one head
    Source: Yang et al. 2025, arXiv:2505.09388, §2.
    Truth:  tests/parity/test_families_qwen.py (logits of transformers, head sizes apart from model / heads).
    """
    norm = Spec("rms", {"eps": eps})
    return Recipe(dims=dims, family="qwen3", position=Spec.read(position), norm=norm, head_norm=norm, tied=tied)
