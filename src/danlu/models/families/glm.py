"""GLM-4 of 2024 (glm-4-9b)."""

from __future__ import annotations

from typing import Any

from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import PRE, Recipe
from . import Published, family
from .glm4 import EPS, HALF_ROPE, names, read_as, write_as
from .sizes import gated


def read(settings: Settings) -> Recipe:
    return read_as(settings, "glm", PRE)


def write(recipe: Recipe) -> dict[str, Any]:
    return write_as(recipe, PRE)


@family(
    "glm",
    Published("glm", "GlmForCausalLM", read, write, names),
    gated,
    formula="(2 - tied)·V·M + L·(2·M·D·(H + K) + bias·D·(H + 2·K) + 3·M·F + 2·M) + M",
)
def glm(
    dims: Dims,
    *,
    position: Spec | str | dict = HALF_ROPE,
    eps: float = EPS,
    bias: bool = True,
    tied: bool = False,
) -> Recipe:
    """LLaMA with biases on q, k and v, and positions that turn half of each head.

    x ← x + attention(rms(x));  x ← x + swiglu(rms(x));  rope on the first D / 2 channels, neighbors in pairs
    Source: GLM team 2024, arXiv:2406.12793, §2.
    Truth:  tests/parity/test_families_glm4.py (logits and gradients of transformers).
    """
    return Recipe(
        dims=dims, family="glm", position=Spec.read(position), norm=Spec("rms", {"eps": eps}), bias=bias, tied=tied
    )
