"""Mistral 7B: LLaMA with a sliding window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from . import Published, family
from .llama_like import LLAMA, body, names, only_full, settings_of, window_of, windowed
from .sizes import gated


def read(settings: Settings) -> Recipe:
    """sliding_window: null means none."""
    only_full(settings)
    size = settings.take("sliding_window", 0)
    recipe = body(settings, "mistral")
    return replace(recipe, masks=(windowed(size),)) if size else recipe


def write(recipe: Recipe) -> dict[str, Any]:
    """Mistral's config.json."""
    if len(recipe.masks) > 1 or recipe.bias or recipe.out_bias or recipe.ffn.settings.get("bias") or recipe.head_norm:
        raise ConfigError("mistral has one mask, no biases and no norm on q and k; save the model as family decoder")
    return {**settings_of(recipe), "sliding_window": window_of(recipe.mask(0))}


@family("mistral", Published("mistral", "MistralForCausalLM", read, write, names), gated, LLAMA)
def mistral(
    dims: Dims,
    *,
    window: int | None = 4096,
    position: Spec | str | dict = "rope",
    eps: float = 1e-5,
    tied: bool = False,
) -> Recipe:
    """LLaMA whose tokens look back at most ``window`` tokens in each layer.

    allowed(q, k) = 0 ≤ q - k < window; after n layers a token has read n · (window - 1) tokens back
    Source: Jiang et al. 2023, arXiv:2310.06825, §2.
    Truth:  tests/parity/test_families_mistral.py (logits of transformers, beyond the window too).
    """
    norm, masks = Spec("rms", {"eps": eps}), (windowed(window) if window else Spec("causal"),)
    return Recipe(dims=dims, family="mistral", position=Spec.read(position), norm=norm, masks=masks, tied=tied)
