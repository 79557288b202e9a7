"""Plans of a model that lies in a directory or is only a configuration."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import ConfigError
from ..core.files import read_json
from ..models import Architecture, read_recipe
from ..models.families import of_type
from ..models.hub import located
from ..models.published import Settings
from .devices import device
from .report import Plan
from .work import Work

LONGEST = 2048  # tokens a row, where the request names none
BYTES = {
    "": 1,
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
}


def of_model(
    path: str, *, length: int | None = None, rows: int = 1, precision: str = "fp32", recompute: bool = False,
    on: str | None = None, limit: float | None = None,
) -> Plan:  # fmt: skip
    """Full training of a published model with AdamW, one micro-batch a step, and generation with it.

    Raises: ConfigError for a length that the model's context does not hold, CheckpointError for what is no model.
    """
    recipe = recipe_at(path)
    length = length or min(LONGEST, recipe.dims.context)
    if not 1 <= length <= recipe.dims.context:
        raise ConfigError(
            f"--length must lie between 1 and the model's context of {recipe.dims.context}, found {length}"
        )
    if rows < 1:
        raise ConfigError(f"--batch must be at least 1 row, found {rows}")
    work = Work(recipe=recipe, rows=rows, length=length, precision=precision, recompute=recompute)
    half = precision in ("bf16", "fp16")
    return Plan(
        title=path, work=work, device=device(on, precision=precision), limit=limit,
        serve_rows=rows, serve_bytes=2 if half else 4,
    )  # fmt: skip


def recipe_at(path: str) -> Architecture:
    """Of a model directory, a run, a hub id, or a Hugging Face configuration file of any name."""
    if not Path(path).is_file():
        return read_recipe(located(path))[0]
    raw = read_json(path, "the settings of a model")
    if not isinstance(raw, dict) or "model_type" not in raw:
        raise ConfigError(f"{path}: names no model_type; give the config.json of a Hugging Face model")
    return of_type(str(raw["model_type"]), path).published.read(Settings(raw, path))


def bytes_of(text: str) -> float:
    """ "24GiB" → bytes; raises ConfigError for what is no size."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in BYTES or match[1].count(".") > 1:
        raise ConfigError(f"--memory: expected a size like 24GiB or 800MB, found {text!r}")
    return float(match[1]) * BYTES[match[2].lower()]
