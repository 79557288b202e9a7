"""Qwen2 and Qwen2.5: LLaMA with biases on queries, keys and values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from . import Published, family
from .llama_like import LLAMA, SLOW_ROPE, body, layered, layers_of, names, settings_of
from .sizes import gated


def read(settings: Settings) -> Recipe:
    """The biases are not a setting: every Qwen2 has them."""
    recipe = body(settings, "qwen2")
    return replace(recipe, bias=True, masks=layered(settings, recipe.dims.layers))


def write(recipe: Recipe) -> dict[str, Any]:
    """Qwen2's config.json, which knows no other head size than model / heads."""
    if not recipe.bias or recipe.out_bias or recipe.ffn.settings.get("bias") or recipe.head_norm:
        raise ConfigError("qwen2 has biases on q, k and v only and no norm on q and k; save it as family decoder")
    if recipe.dims.head * recipe.dims.heads != recipe.dims.model:
        raise ConfigError("qwen2 is published with heads · head = model only; save the model as family decoder")
    return {**settings_of(recipe), **layers_of(recipe)}


@family("qwen2", Published("qwen2", "Qwen2ForCausalLM", read, write, names), gated, f"{LLAMA} + L·D·(H + 2·K)")
def qwen2(dims: Dims, *, position: Spec | str | dict = SLOW_ROPE, eps: float = 1e-6, tied: bool = True) -> Recipe:
    """LLaMA with biases where queries, keys and values are made, and a slow rope for long contexts.

    q = W_q x + b_q, k = W_k x + b_k, v = W_v x + b_v
    Source: Yang et al. 2024, arXiv:2407.10671, §2.2.1; Qwen2.5: arXiv:2412.15115, §2.
    Truth:  tests/parity/test_families_qwen.py (logits of transformers, tied and untied, windows by layer).
    """
    norm = Spec("rms", {"eps": eps})
    return Recipe(dims=dims, family="qwen2", position=Spec.read(position), norm=norm, bias=True, tied=tied)
