"""The lives that come with danlu: the demo on its own world, and the same stages on the reader's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..core import config
from ..core.errors import ConfigError, DataError
from .recipe import LifeRecipe

QUICK = {"pretrain": 40, "sft": 15}  # steps: the machinery in a minute, not the accuracy
TALKING = ("sft", "answers")  # stages that need instructions


def demo(
    text: str | Path | None = None,
    instructions: Sequence[str | Path] = (),
    *,
    out: str | Path = "runs/demo",
    seed: int = 0,
    quick: bool = False,
) -> LifeRecipe:
    """The recipe of ``danlu demo``: the world, or the reader's text and, if given, instruction files.

    Raises: ConfigError for instructions without text; DataError for a folder that is not there or holds nothing.
    """
    if instructions and text is None:
        raise ConfigError("--instructions needs --text FOLDER beside it: the model learns to write before it answers")
    raw = _read("demo.yaml") if text is None else _own(_place(text), [_place(path) for path in instructions])
    if quick:
        _shorten(raw["stages"])
    return replace(config.read(LifeRecipe, raw, "demo"), out=str(out), seed=seed)


def _own(text: str, instructions: list[str]) -> dict[str, Any]:
    raw = _read("demo_text.yaml")
    stages = raw["stages"]
    stages["corpus"] |= {"text": [text], "instructions": instructions}
    if not instructions:
        for name in TALKING:
            del stages[name]
        stages["tokenizer"]["files"] = ["corpus/text.jsonl"]
        stages["store"]["of"] = ["pretrain"]
        stages["pretrain"]["recipe"]["data"]["parts"] = [{"from": "corpus/text.jsonl"}]
        stages["samples"] = {"use": "samples", "model": "pretrain", "texts": "corpus/held_out.jsonl"}
        stages["report"]["commands"][0] = "danlu generate {run}/pretrain/final --prompt TEXT"
    return raw


def _place(path: str | Path) -> str:
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError("no such file or folder; check the path", file=path)
    if place.is_dir() and not any(p.is_file() and not p.name.startswith(".") for p in place.rglob("*")):
        raise DataError("the folder holds no file; put .txt, .md or .jsonl files into it", file=path)
    return str(place)


def _shorten(stages: dict[str, Any]) -> None:
    for name, steps in QUICK.items():
        if name in stages:
            stages[name]["recipe"]["train"]["steps"] = steps
    for stage in stages.values():
        if stage["use"] == "exam":
            stage["most"] = 8


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load(resources.files("danlu.life").joinpath(name).read_text(encoding="utf-8"))
