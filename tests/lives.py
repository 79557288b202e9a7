"""Recipes of lives that take seconds: a world of eight people, a model of a few thousand parameters, every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.core import config
from danlu.life import LifeRecipe

MODEL = {"use": "llama", "model": 32, "layers": 1, "heads": 2, "context": 128, "tied": True}
OPTIM = {"use": "adamw", "lr": 3e-3}


def training(parts: list[dict[str, Any]], steps: int, **beginning: Any) -> dict[str, Any]:
    return {
        "use": "train",
        "recipe": {
            **beginning,
            "data": {"parts": parts, "pack": {"length": 64, "too_long": "split"}},
            "optim": OPTIM,
            "train": {"steps": steps, "tokens": 256, "micro": 256},
            "hooks": [{"use": "save", "every": 2, "keep": 2}, {"use": "log", "every": 1}],
        },
    }


def world_stages(steps: int = 6) -> dict[str, Any]:
    few = {"biographies": {"copies": 2}, "small_talk": {"copies": 1}, "arithmetic": {"largest": 3}}
    return {
        "corpus": {"use": "world", "people": 8, "strangers": 4, "corpora": few},
        "tokenizer": {"use": "tokenizer", "vocab": 500, "files": ["corpus/words.txt"], "measure": ["corpus/dialogues.jsonl"]},
        "store": {"use": "store", "of": ["pretrain", "sft"]},
        "pretrain": training([{"from": "corpus/biographies.jsonl"}], steps, tokenizer="tokenizer", architecture=MODEL),
        "before": {"use": "exam", "model": "pretrain", "most": 2, "max_tokens": 4},
        "sft": training([{"from": "corpus/dialogues.jsonl"}], 2, base="pretrain/final"),
        "after": {"use": "exam", "model": "sft", "most": 2, "max_tokens": 4},
        "samples": {"use": "samples", "model": "sft", "chats": [["Hello!", "谢谢！"]], "exercises": "corpus/exam.jsonl",
                    "count": 4, "max_tokens": 4},
        "report": {"use": "report", "commands": ["danlu chat {run}/sft/final"]},
    }  # fmt: skip


def recipe_of(stages: dict[str, Any], out: Path) -> LifeRecipe:
    return config.read(LifeRecipe, {"stages": stages, "out": str(out), "seed": 1}, "test")
