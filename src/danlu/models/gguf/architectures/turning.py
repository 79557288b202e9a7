"""Rotary positions in llama.cpp's words: scalings by name, or a divisor for every wave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ....core.errors import CheckpointError
from ....core.spec import Spec
from ....nn.dims import Dims
from ....nn.positions import POSITIONS
from ....nn.positions.rope import Rope
from ....nn.scalings import SCALINGS
from ....nn.scalings.dynamic import Dynamic
from ....nn.scalings.yarn import Yarn
from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields

WAVES = "rope_freqs.weight"
"""The tensor by which every wave is divided."""
TYPE, FACTOR, ORIGINAL = "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"
FAST, SLOW = "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"
THETA = 10_000.0

SPOKEN: dict[str, Callable[[Any], dict[str, Any]]] = {
    "none": lambda made: {},
    "dynamic": lambda made: {},
    "interpolation": lambda made: {TYPE: "linear", FACTOR: float(made.factor)},
    "yarn": lambda made: {
        TYPE: "yarn", FACTOR: float(made.factor), ORIGINAL: made.original, FAST: float(made.fast),
        SLOW: float(made.slow),
    },
}  # fmt: skip
"""Scalings that llama.cpp computes by itself, and how it is told of them."""


@dataclass(frozen=True)
class Turned(Entry):
    """Queries or keys whose heads turn in pairs of neighbors there and in pairs of halves here."""

    heads: int = 1

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        (ours,) = tensors
        return ours.unflatten(0, (self.heads, 2, -1)).transpose(1, 2).reshape(ours.shape).contiguous()

    def unpack(self, tensor: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
        return [tensor.unflatten(0, (self.heads, -1, 2)).transpose(1, 2).reshape(tensor.shape)]


def refused(recipe: Recipe, *, neighbors: bool, freely: bool, part: float = 1.0) -> str | None:
    """Why llama.cpp would turn heads in another way.

    ``neighbors``: which channels turn together there; ``freely``: whether it may be told a divisor for every wave.
    """
    position, scaling = recipe.position, scaling_of(recipe)
    if POSITIONS[position.use] is not Rope:
        return f"its positions are {position.use!r}, not rope"
    if position.settings.get("part", 1.0) != part:
        return "it turns another part of each head"
    if position.settings.get("interleaved", False) and not neighbors:
        return "it turns pairs of neighbors, not of halves"
    if scaling.use not in SPOKEN and not freely:
        return f"its positions are scaled by {scaling.use!r}"
    made = _made(recipe)
    if isinstance(made, Yarn) and (not made.truncate or made.gain != Yarn(factor=made.factor).gain):
        return "its YaRN has a gain of its own, or a ramp that is not rounded"
    return None


def written(recipe: Recipe) -> dict[str, Any]:
    """The fields; dynamic scaling is left out, as it changes nothing within the length that ``longest`` answers."""
    settings = recipe.position.settings
    return {
        "rope.freq_base": float(settings.get("base", THETA)),
        "rope.dimension_count": int(recipe.dims.head * settings.get("part", 1.0)),
        **SPOKEN.get(scaling_of(recipe).use, SPOKEN["none"])(_made(recipe)),
    }


def longest(recipe: Recipe) -> int:
    """The longest text that llama.cpp reads as this recipe does."""
    made = _made(recipe)
    return made.original if isinstance(made, Dynamic) else recipe.dims.context


def divisors(recipe: Recipe) -> dict[str, Tensor]:
    """The tensor by which plain waves are divided, for a scaling that llama.cpp does not know by name."""
    if scaling_of(recipe).use in SPOKEN:
        return {}
    return {WAVES: _waves(recipe.position, recipe.dims, None) / _waves(recipe.position, recipe.dims, _made(recipe))}


def read(fields: Fields, dims: Dims, **settings: Any) -> Spec:
    """The positions of a file; raises CheckpointError for a scaling that is not built."""
    base = fields.take("rope.freq_base", THETA)
    settings |= {"base": base} if base != THETA else {}
    if scaling := _divided(fields, dims, Spec("rope", settings)) or _spoken(fields, dims.context):
        settings["scaling"] = scaling
    return Spec("rope", settings)


def scaling_of(recipe: Recipe) -> Spec:
    return Spec.read(recipe.position.settings.get("scaling") or "none", "scaling")


def _spoken(fields: Fields, length: int) -> dict[str, Any] | None:
    kind, factor = fields.take(TYPE, "none"), fields.take(FACTOR, 1.0)
    curve = {"original": fields.take(ORIGINAL, length), "fast": fields.take(FAST, 32.0), "slow": fields.take(SLOW, 1.0)}
    known: dict[str, dict[str, Any] | None] = {
        "none": None,
        "linear": {"use": "interpolation", "factor": factor},
        "yarn": {"use": "yarn", "factor": factor, **curve},
    }
    if kind not in known:
        raise fields.refusal(TYPE, f"there are {', '.join(known)}")
    return known[kind]


def _divided(fields: Fields, dims: Dims, rope: Spec) -> dict[str, Any] | None:
    """The scaling of LLaMA 3.1, found by the divisors that the file gives; raises CheckpointError for others."""
    if not fields.has(WAVES):
        return None
    given = fields.tensor(WAVES)
    scaling = {"use": "llama3", "factor": float(f"{given.max():.6g}")}
    made = Spec.read(scaling).build(SCALINGS, where="scaling")
    if not torch.allclose(_waves(rope, dims, None) / _waves(rope, dims, made), given, rtol=1e-4):
        raise CheckpointError(f"{fields.where}: its waves are scaled in a way that is not built ({WAVES})")
    return scaling


def _waves(position: Spec, dims: Dims, scaling: Any) -> Tensor:
    """Frequencies (D / 2,) under a scaling, which is built already, or under none."""
    plain = replace(position, settings={**position.settings, "scaling": None})
    rope = plain.build(POSITIONS, dims, where="position")
    size = 2 * len(rope.waves)
    base = position.settings.get("base", THETA)
    return rope.waves if scaling is None else scaling.frequencies(size, base)[0]


def _made(recipe: Recipe) -> Any:
    return scaling_of(recipe).build(SCALINGS, where="scaling")
