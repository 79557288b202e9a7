"""How config.json speaks of RoPE: rope_theta and rope_scaling (transformers 4) or rope_parameters (transformers 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..core.errors import CheckpointError, ConfigError
from ..core.spec import Spec
from .published import Settings

THETA = 10_000.0


@dataclass(frozen=True)
class Published:
    """A scaling of ours and the published names of its settings."""

    scaling: str
    settings: dict[str, str]
    ignored: frozenset[str] = frozenset()


LENGTH = "original_max_position_embeddings"
KINDS = {
    "default": Published("none", {}, frozenset({LENGTH, "factor"})),
    "linear": Published("interpolation", {"factor": "factor"}, frozenset({LENGTH})),
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
    ),
}


def read(settings: Settings, context: int) -> Spec:
    """The position encoding that a config.json describes; raises CheckpointError for a kind of scaling not built."""
    theta = settings.take("rope_theta", THETA)
    raw = dict(settings.take("rope_scaling", None) or {})
    raw = dict(settings.take("rope_parameters", None) or {}) or raw
    base = raw.pop("rope_theta", None) or theta
    kind = raw.pop("rope_type", None) or raw.pop("type", None) or "default"
    raw.pop("type", None)
    if kind not in KINDS:
        raise CheckpointError(
            f"{settings.where}: rope type {kind!r} is not built; there are: {', '.join(sorted(KINDS))}"
        )
    values = _completed(kind, {key: value for key, value in raw.items() if value is not None}, context)
    published = KINDS[kind]
    ours = {name: values.pop(key) for name, key in published.settings.items() if key in values}
    if left := sorted(key for key in values if key not in published.ignored and values[key] != 1.0):
        raise CheckpointError(f"{settings.where}: rope type {kind!r} has the setting {left[0]!r}, which is not built")
    scaling = {} if published.scaling == "none" else {"scaling": {"use": published.scaling, **ours}}
    return Spec("rope", {**({"base": float(base)} if base != THETA else {}), **scaling})


def _completed(kind: str, raw: dict[str, Any], context: int) -> dict[str, Any]:
    """Fills in what the published rules derive: the trained length, YaRN's factor and its attention factor."""
    if kind in ("yarn", "llama3"):
        raw.setdefault(LENGTH, context)
    if kind == "yarn":
        raw.setdefault("factor", context / raw[LENGTH])
        numerator, denominator = raw.pop("mscale", 0), raw.pop("mscale_all_dim", 0)
        if numerator and denominator and "attention_factor" not in raw:
            growth = 0.1 * math.log(raw["factor"]) if raw["factor"] > 1 else 0.0
            raw["attention_factor"] = (numerator * growth + 1) / (denominator * growth + 1)
    return raw


def write(position: Spec, family: str) -> dict[str, Any]:
    """The settings of transformers 4, which 5 reads too; raises ConfigError for an encoding they cannot describe."""
    if position.use != "rope":
        raise ConfigError(f"{family} is published with rope only, not with {position.use!r}; save it as family decoder")
    scaling = Spec.read(position.settings.get("scaling") or "none")
    theta = position.settings.get("base", THETA)
    kind = next((kind for kind, published in KINDS.items() if published.scaling == scaling.use), None)
    if kind is None:
        raise ConfigError(f"{family} cannot be published with rope scaling {scaling.use!r}; save it as family decoder")
    raw = {KINDS[kind].settings[name]: value for name, value in scaling.settings.items() if value is not None}
    return {"rope_theta": theta, "rope_scaling": {"rope_type": kind, **raw} if kind != "default" else None}
