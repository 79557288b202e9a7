"""A decoder of any registered parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...core.spec import Spec
from ...nn.dims import Dims
from ..forms.stack import Stack
from ..published import Settings
from ..recipe import LINEAR, REFERENCE, SDPA, Recipe
from ..weights import Entry, stored
from . import Published, family


def read(settings: Settings) -> Recipe:
    """config.json holds the whole recipe."""
    return Recipe.read(settings.need("recipe", dict), settings.where)


def write(recipe: Recipe) -> dict[str, Any]:
    return {"recipe": recipe.write()}


def names(recipe: Recipe) -> list[Entry]:
    """Tensors carry the names that they have here."""
    with torch.device("meta"):
        return [Entry(name, (name,)) for name in stored(Stack(recipe))]


def sizes(
    *, vocab: int, model: int, layers: int, heads: int, context: int, kv_heads: int = 0, head: int = 0, width: int = 0
) -> Dims:
    """``ffn`` names the feed-forward part, so its width is ``width``."""
    return Dims(
        vocab=vocab, model=model, layers=layers, heads=heads, context=context, kv_heads=kv_heads, head=head, ffn=width
    )


@family("decoder", Published("danlu", "Decoder", read, write, names), sizes)
def decoder(
    dims: Dims,
    *,
    position: Spec | str | dict = "rope",
    norm: Spec | str | dict = "rms",
    ffn: Spec | str | dict = "swiglu",
    wiring: Spec | str | dict = "pre",
    mask: Spec | str | dict = "causal",
    head_norm: Spec | str | dict | None = None,
    bias: bool = False,
    tied: bool = True,
    dropout: float = 0.0,
    kernels: Sequence[Spec | str | dict] = (SDPA, REFERENCE),
    embed: int = 0,
    scaled: bool = False,
    types: int = 0,
    distinct: int = 0,
) -> Recipe:
    """Any position encoding, norm, feed-forward, wiring and mask that are registered, in one stack.

    ``width`` is that of the feed-forward, 4 · model unless given; ``bias`` that of attention's projections; the first
    of ``kernels`` that can computes attention. ``embed`` is the width of token vectors if they are narrower than the
    model (they are then scored by the head ``transform``), ``scaled`` multiplies them by sqrt(model), ``types`` kinds
    of tokens have vectors of their own, and ``distinct`` layers have weights that the others share.
    Raises: ConfigError naming the setting and the known parts.
    Source: Phuong, Hutter 2022, arXiv:2207.09238, algorithm 10 (the decoder as a composition).
    Truth:  tests/truth/test_decoder.py (the sum of parts by hand; counts of parameters in closed form).
    """
    return Recipe(
        dims=dims, position=Spec.read(position), norm=Spec.read(norm), ffn=Spec.read(ffn), wiring=Spec.read(wiring),
        masks=(Spec.read(mask),), head_norm=None if head_norm is None else Spec.read(head_norm),
        bias=bias, out_bias=bias, tied=tied, dropout=dropout,
        kernels=tuple(Spec.read(kernel, "kernels") for kernel in kernels),
        embed=embed, head=Spec("transform") if embed else LINEAR, embed_scale=dims.model**0.5 if scaled else 1.0,
        token_types=types, distinct=distinct,
    )  # fmt: skip
