"""recipes/life.yaml on the real text, at reduced size: every stage runs, and training moves both figures down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.core import config
from danlu.life import LifeRecipe, run
from danlu.life.jsonl import read_rows

RECIPE = Path(__file__).parents[2] / "recipes" / "life.yaml"
BYTES = 60_000  # of each source


def reduced(shared: Path, folder: Path) -> LifeRecipe:
    """The recipe with the first part of each source, a model of 0.1 M parameters and a minute's steps."""
    recipe = config.load(LifeRecipe, RECIPE)
    stages = {name: spec.write() for name, spec in recipe.stages.items()}
    corpus, train, tune = stages["corpus"], stages["pretrain"]["recipe"], stages["sft"]["recipe"]
    corpus["text"] = [_head(shared / Path(p).relative_to("../shared/data"), folder) for p in corpus["text"]]
    corpus["instructions"] = [str(shared / Path(p).relative_to("../shared/data")) for p in corpus["instructions"]]
    stages["tokenizer"]["vocab"] = 600
    train["architecture"] |= {"model": 64, "layers": 1}
    train["optim"] |= {"lr": 5e-3}
    train["train"] |= {"steps": 60}
    tune["train"] |= {"steps": 20}
    stages["samples"] |= {"count": 2, "max_tokens": 8}
    return config.read(LifeRecipe, {"stages": stages, "out": str(folder / "run")}, "reduced")


def _head(path: Path, folder: Path) -> str:
    """The first lines of a file."""
    kept: list[bytes] = []
    with path.open("rb") as handle:
        for line in handle:
            if sum(map(len, kept)) > BYTES:
                break
            kept.append(line)
    (folder / path.name).write_bytes(b"".join(kept))
    return str(folder / path.name)


@pytest.mark.slow
def test_the_life_on_real_text_at_reduced_size(shared: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    done = run(reduced(shared, tmp_path), quiet=True)
    held_out = done.figures("held_out")
    first: dict[str, Any] = next(read_rows(done.folder / "pretrain" / "metrics.jsonl"))
    assert held_out["model"]["bits_per_byte"] < 0.85 * first["bits_per_byte"], "pretraining foretells held-out text"
    assert set(held_out["others"]) == {"5-gram Kneser-Ney, bytes", "5-gram Kneser-Ney, tokens", "gzip", "xz"}
    answers = done.figures("answers")
    assert answers["sft"]["loss"] < answers["pretrain"]["loss"], "fine-tuning foretells held-out answers"
    assert answers["sft"]["tokens"] == answers["pretrain"]["tokens"]
    ratios = done.figures("tokenizer")["tokens_per_character"]
    assert ratios["zh"]["ratio"] > ratios["en"]["ratio"] > 0
    assert done.report is not None


def test_the_recipe_reads(tmp_path: Path) -> None:
    recipe = config.load(LifeRecipe, RECIPE)
    assert config.read(LifeRecipe, config.write(recipe)) == recipe
    assert replace(recipe, out=str(tmp_path)).stages["pretrain"].use == "train"
