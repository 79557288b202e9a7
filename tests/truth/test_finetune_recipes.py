"""recipes/finetune at smoke size on a tiny base: every method runs, moves its loss, and answers the same when loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from data_tokenizer import make_tokenizer

import danlu
from danlu import assembly
from danlu.core import config
from danlu.core.spec import Spec
from danlu.models import build
from danlu.peft import ADAPTERS
from danlu.train import train

RECIPES = sorted((Path(__file__).parents[2] / "recipes/finetune").glob("*.yaml"))
SMALL = ("data.pack.length=32", "train.steps=6", "train.tokens=128", "train.micro=64", "data.parts.0.share=1")
QUIET = ("hooks=[{use: save, every: 6, keep: 1}, {use: evaluate, every: 6}, log]",)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    words = ["fox", "dog", "one", "two", "three", "quick", "lazy"]
    asked = [(a, b) for a in words for b in words]
    file.write_text("".join(json.dumps({"prompt": f"say {a} {b}", "response": f"{b} {a}"}) + "\n" for a, b in asked))
    return file


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory with its tokenizer for each family that a recipe asks for."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = make_tokenizer(folder / "tokenizer")
    made = {}
    for family in ("llama", "gpt2"):
        shape = {"use": family, "model": 64, "layers": 2, "heads": 4, "context": 256}
        made[family] = folder / family
        danlu.save(build(Spec.read(shape), vocab=tokenizer.vocab_size, seed=0), tokenizer, made[family])
    return made


def smoke(recipe: Path, base: Path, rows: Path, out: Path, *more: str) -> Any:
    parts = (f"base={base}", f"data.parts.0.from={rows}", f"data.parts.1.from={rows}", f"data.cache={out.parent}/data")
    return train(recipe, [*SMALL, *QUIET, *parts, *more], out=out, quiet=True)


def of(name: str) -> Path:
    return next(path for path in RECIPES if path.stem == name)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_and_its_result_loads(
    recipe: Path, bases: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    base = bases["gpt2" if "gpt2" in recipe.read_text() else "llama"]
    adapter = config.read_yaml(recipe).get("adapter", {})
    more = ["adapter.samples=2"] if "samples" in adapter else []
    for name in adapter.get("adapters", {}):
        stage = smoke(of("pfeiffer"), base, rows, tmp_path / name)  # what a fusion joins is trained before
        more.append(f"adapter.adapters.{name}={stage.folder / 'final'}")
    done = smoke(recipe, base, rows, tmp_path / "run", *more)
    losses = [line["loss"] for line in done.metrics if "loss" in line]
    assert len(losses) == 6
    assert all(map(math.isfinite, losses))
    assert done.report["trained"] > 0
    tokens = torch.arange(1, 21).view(2, 10)
    again, tokenizer = assembly.load(done.folder, storage=config.read_yaml(recipe).get("storage"))
    with torch.no_grad():
        torch.testing.assert_close(again(tokens), done.model(tokens), atol=1e-5, rtol=1e-5)
    assert danlu.generate(again, tokenizer, ["say fox dog"], max_tokens=3)[0].tokens


def test_every_method_has_a_recipe() -> None:
    used = {config.read_yaml(path).get("adapter", {}).get("use") for path in RECIPES}
    assert set(ADAPTERS) <= used, f"no recipe in recipes/finetune for {sorted(set(ADAPTERS) - used)}"
