"""A run that takes a second: a small tokenizer, a text and a recipe, for the tests of the training room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from data_tokenizer import make_tokenizer

from danlu.core.batch import Batch
from danlu.core.rng import Rng
from danlu.core.spec import Spec
from danlu.models import Stack, build

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "asks",
    "why",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
]
LLAMA = {"use": "llama", "model": 32, "layers": 2, "heads": 4, "context": 64}


def write_recipe(folder: Path, **changes: Any) -> Path:
    """tiny.yaml with a tokenizer and a text beside it; ``changes`` replace top-level keys."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder / "tokenizer")
    rng = Rng(5)
    lines = [" ".join(rng.choice(WORDS) for _ in range(4 + rng.below(9))) for _ in range(150)]
    (folder / "text.jsonl").write_text("\n".join(f'{{"text": "{line}"}}' for line in lines) + "\n")
    recipe = {
        "seed": 3,
        "tokenizer": str(folder / "tokenizer"),
        "architecture": LLAMA,
        "data": {
            "parts": [{"from": str(folder / "text.jsonl")}],
            "pack": {"length": 32},
            "held_out": {"share": 0.1},
            "cache": str(folder / "data"),
        },
        "train": {"steps": 12, "tokens": 128, "micro": 64, "threads": 1},
        "optim": {"use": "adamw", "lr": 0.003},
        "schedule": {"use": "cosine", "warmup": 3},
        "hooks": [{"use": "save", "every": 4, "keep": 2}, {"use": "evaluate", "every": 6}, "log"],
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def tiny_model(vocab: int = 40, seed: int = 0, **changes: Any) -> Stack:
    return build(Spec.read(LLAMA | changes), vocab=vocab, seed=seed)


def packed(rows: int, length: int, *, vocab: int = 40, seed: int = 0) -> Batch:
    """Rows of two or three documents each with padding at the end, and weights of 0, 0.5 and 2."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocab, (rows, length), generator=rng)
    targets = torch.randint(0, vocab, (rows, length), generator=rng)
    weight = torch.tensor([0.0, 0.5, 2.0])[torch.randint(0, 3, (rows, length), generator=rng)]
    cuts = torch.tensor([length // 3, length // 3 + length // 4, length - 2])
    slots = torch.arange(length)
    segment = (1 + (slots[:, None] >= cuts).sum(-1)) * (slots < length - 2)
    starts = torch.stack([(segment == s).int().argmax() for s in range(4)])
    position = slots - starts[segment]
    weight = weight * (segment > 0)
    return Batch(tokens, targets, weight, segment.expand(rows, length).clone(), position.expand(rows, length).clone())


class Fixed:
    """A stream of given batches, over and over, with a cursor."""

    def __init__(self, *batches: Batch) -> None:
        self.batches, self.at = batches, 0

    def __iter__(self) -> Any:
        while True:
            self.at += 1
            yield self.batches[(self.at - 1) % len(self.batches)]

    def state(self) -> dict[str, Any]:
        return {"at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
