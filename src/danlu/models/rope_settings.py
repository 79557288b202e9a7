"""How config.json speaks of RoPE: rope_theta and rope_scaling (transformers 4) or rope_parameters (transformers 5)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.errors import CheckpointError, ConfigError
from ..core.spec import Spec, settings_of
from ..nn.positions import POSITIONS
from ..nn.positions.rope import Rope
from ..nn.scalings import SCALINGS
from ..nn.scalings.ntk import Ntk
from ..nn.scalings.ntk_parts import NtkParts
from .published import Settings
from .recipe import Recipe

THETA = 10_000.0
PART = "partial_rotary_factor"
LENGTH = "original_max_position_embeddings"


@dataclass(frozen=True)
class Published:
    """A scaling of ours and the published names of its settings; ``alike`` are those with equal defaults."""

    scaling: str
    settings: dict[str, str]
    alike: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()


KINDS = {
    "default": Published("none", {}, ignored=frozenset({LENGTH, "factor"})),
    "linear": Published("interpolation", {"factor": "factor"}, ignored=frozenset({LENGTH})),
    "dynamic": Published("dynamic", {"factor": "factor", "original": LENGTH}),
    "llama3": Published(
        "llama3",
        {"factor": "factor", "low": "low_freq_factor", "high": "high_freq_factor", "original": LENGTH},
    ),
    "yarn": Published(
        "yarn",
        {
            "factor": "factor",
            "original": LENGTH,
            "fast": "beta_fast",
            "slow": "beta_slow",
            "truncate": "truncate",
            "gain": "attention_factor",
        },
        alike=frozenset({"fast", "slow", "truncate", "gain"}),
    ),
}


@dataclass(frozen=True)
class Turns:
    """How a family turns heads: which ``part`` unless config.json says another, None for always all; in which pairs."""

    part: float | None = None
    interleaved: bool = False


WHOLE = Turns()


def read(settings: Settings, context: int, turns: Turns = WHOLE) -> Spec:
    """The position encoding that a config.json describes; raises CheckpointError for a kind of scaling not built."""
    part = turns.part
    theta = settings.take("rope_theta", THETA)
    share = settings.take(PART, part) if part is not None else None
    scaled: dict[str, Any] = settings.take("rope_scaling", {})
    raw = dict(settings.take("rope_parameters", {}) or scaled)
    base = raw.pop("rope_theta", None) or theta
    share = raw.pop(PART, None) or share if part is not None else None
    kind = raw.pop("rope_type", None) or raw.pop("type", None) or "default"
    raw.pop("type", None)
    if kind not in KINDS:
        raise CheckpointError(
            f"{settings.where}: rope type {kind!r} is not built; there are: {', '.join(sorted(KINDS))}; take a model "
            "scaled by one of these, or strike it to read texts of the trained length only"
        )
    values = _completed(kind, {key: value for key, value in raw.items() if value is not None}, context)
    published = KINDS[kind]
    ours = {name: values.pop(key) for name, key in published.settings.items() if key in values}
    if left := sorted(key for key in values if key not in published.ignored and values[key] != 1.0):
        raise CheckpointError(f"{settings.where}: rope type {kind!r} has the setting {left[0]!r}, which is not built")
    found = {
        "base": float(base) if base != THETA else None,
        "scaling": {"use": published.scaling, **ours} if kind != "default" else None,
        "part": share if share != 1.0 else None,
        "interleaved": turns.interleaved or None,
    }
    return Spec("rope", {name: value for name, value in found.items() if value is not None})


def _completed(kind: str, raw: dict[str, Any], context: int) -> dict[str, Any]:
    """Fills in what the published rules derive: the trained length, YaRN's factor and its attention factor."""
    if kind in ("yarn", "llama3"):
        raw.setdefault(LENGTH, context)
    if kind == "dynamic":
        raw[LENGTH] = context  # transformers reads no other
    if kind == "yarn":
        raw.setdefault("factor", context / raw[LENGTH])
        numerator, denominator = raw.pop("mscale", 0), raw.pop("mscale_all_dim", 0)
        if numerator and denominator and "attention_factor" not in raw:
            growth = 0.1 * math.log(raw["factor"]) if raw["factor"] > 1 else 0.0
            raw["attention_factor"] = (numerator * growth + 1) / (denominator * growth + 1)
    return raw


def write(recipe: Recipe, turns: Turns = WHOLE) -> dict[str, Any]:
    """The settings of transformers 4, which 5 reads too; raises ConfigError for what they cannot describe."""
    position, family, dims = recipe.position, recipe.family, recipe.dims
    if POSITIONS[position.use] is not Rope:
        raise ConfigError(f"{family} is published with rope only, not with {position.use!r}; save it as family decoder")
    share = position.settings.get("part", 1.0)
    if turns.part is None and share != 1.0:
        raise ConfigError(f"{family} turns whole heads, found part = {share}; save it as family decoder")
    if position.settings.get("interleaved", False) != turns.interleaved:
        pairs, word = ("neighbors", "true") if turns.interleaved else ("the halves of a head", "false")
        raise ConfigError(f"{family} pairs {pairs}; set interleaved: {word}, or save it as family decoder")
    scaling = Spec.read(position.settings.get("scaling") or "none", "scaling")
    theta = position.settings.get("base", THETA)
    made = scaling.build(SCALINGS, where="position.scaling")
    if scaling.use in EQUAL:
        theta, scaling = EQUAL[scaling.use](made, theta, int(dims.head * share))
    kind = next((kind for kind, published in KINDS.items() if published.scaling == scaling.use), None)
    if kind is None:
        raise ConfigError(f"{family} cannot be published with rope scaling {scaling.use!r}; save it as family decoder")
    raw = {"rope_type": kind, **_named(kind, scaling)}
    if kind == "dynamic" and raw.pop(LENGTH) != dims.context:
        raise ConfigError(
            f"{family} is published with dynamic scaling from its context of {dims.context} tokens on; "
            "set original to that, or save it as family decoder"
        )
    turned = {} if turns.part is None else {PART: share}
    return {"rope_theta": theta, "rope_scaling": raw if kind != "default" else None, **turned}


def _named(kind: str, scaling: Spec) -> dict[str, Any]:
    """The settings by their published names; those left out too, unless they are left out with the same meaning."""
    published = KINDS[kind]
    values = {**{n: v for n, v in _filled(scaling).items() if n not in published.alike}, **scaling.settings}
    return {published.settings.get(name, name): value for name, value in values.items() if value is not None}


def _filled(scaling: Spec) -> dict[str, Any]:
    """The settings of a scaling with its defaults."""
    known = settings_of(SCALINGS[scaling.use])
    defaults = {name: p.default for name, p in known.items() if p.default is not inspect.Parameter.empty}
    return {**defaults, **scaling.settings}


def _by_base(scaling: Ntk, theta: float, size: int) -> tuple[float, Spec]:
    return scaling.stretched(size, theta), Spec("none")


def _by_turns(scaling: NtkParts, theta: float, size: int) -> tuple[float, Spec]:
    turns = {"low": scaling.slow, "high": scaling.fast}
    return theta, Spec("llama3", {"factor": scaling.factor, **turns, "original": scaling.original})


EQUAL: dict[str, Callable[[Any, float, int], tuple[float, Spec]]] = {"ntk": _by_base, "ntk_parts": _by_turns}
"""Scalings without a published name: the base and the published scaling that give the same waves."""
