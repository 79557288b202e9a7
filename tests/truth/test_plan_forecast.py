"""A recipe's forecast: what it reads off the recipe, what it refuses, and what the verb prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import danlu
from danlu.cli import main
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import recipe_of
from danlu.plan import Work
from danlu.plan.choices import Search, need
from danlu.plan.devices import DEVICES, bytes_of
from danlu.plan.overhead import PROCESS
from danlu.plan.units import duration, flop, size
from danlu.train.forecast import forecast, memory_of
from danlu.train.recipe import Recipe

MODEL = {"use": "llama", "model": 64, "layers": 2, "heads": 4, "context": 128}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from danlu.tokenize import train

    folder = tmp_path_factory.mktemp("tokenizer")
    train(iter(["the furnace refines the elixir " * 20]), vocab=300).save(folder)
    return folder


@pytest.fixture
def recipe(tokenizer: Path, tmp_path: Path) -> Path:
    text = {
        "tokenizer": str(tokenizer),
        "architecture": MODEL,
        "data": {"parts": [{"from": "nowhere.txt"}], "pack": {"length": 128, "rows": "windows"}},
        "train": {"steps": 10, "tokens": 1024, "micro": 512},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(text))
    return file


def test_a_recipe_becomes_work(recipe: Path) -> None:
    plan = danlu.plan(str(recipe), on="a100")  # type: ignore[operator]
    work = plan.work
    assert (work.rows, work.length, work.micros, work.documents, work.device) == (4, 128, 2, 1, "cuda")
    assert work.recipe == recipe_of(Spec.read(MODEL), vocab=work.recipe.dims.vocab)
    assert plan.peak_bytes == memory_of(work).peak_bytes
    assert plan.fits
    changed = danlu.plan(
        recipe, ["train.recompute=blocks", "train.ramp=[[0,1],[5,3]]", "data.pack.rows=packed"], on="a100"
    )  # type: ignore[operator]
    assert changed.work.recompute == "blocks"
    assert changed.work.documents >= 1
    assert changed.work.micros == 6, "the largest factor of the ramp is what must fit"


def test_states_are_those_of_the_optimizer(recipe: Path) -> None:
    """AdamW keeps two numbers a parameter, momentum one, plain SGD none."""
    for changes, numbers in (([], 2), (["optim.use=sgd", "optim.momentum=0.9"], 1), (["optim.use=sgd"], 0)):
        plan = danlu.plan(recipe, changes, on="a100")  # type: ignore[operator]
        held = plan.memory.phases["step"].get("optimizer", 0)
        assert held == pytest.approx(4 * numbers * plan.sizes.total, rel=0.02, abs=65536)


@pytest.mark.slow
def test_the_fix_is_the_mildest_that_fits(recipe: Path) -> None:
    read = danlu.core.config.load(Recipe, recipe)  # type: ignore[attr-defined]
    found = list(Search(forecast(read, on="a100").work, memory_of).same())
    assert found[0].changes == "as planned"
    assert min(c.peak_bytes for c in found) < found[0].peak_bytes
    with pytest.raises(ConfigError, match=r"but A100 80 GB has .*; with train\.micro=256 it needs .* and fits"):
        forecast(read, on="a100", limit=need(memory_of(found[1].work), "cuda")).check()
    with pytest.raises(ConfigError, match=r"even with train.* take a smaller model"):
        forecast(read, on="a100", limit=PROCESS).check()
    assert forecast(read, on="a100", limit=found[0].need_bytes).check().fits


def test_the_verb_prints_a_page_and_writes_json(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    assert main(["plan", str(recipe), "train.steps=20", "--on", "l4", "--json", str(file)]) == 0
    page = capsys.readouterr().out
    for word in (
        "parameters",
        "optimizer",
        "peak",
        "6·N·D",
        "20 steps",
        "kv cache",
        "train.recompute=blocks",
        "16 bytes a parameter",
    ):
        assert word in page
    written = json.loads(file.read_text())
    weights = written["training_bytes"]["step"]["weights"]
    assert weights == pytest.approx(4 * written["parameters"]["total"], rel=0.01), "rounded up to 512 bytes"
    assert written["steps"] == 20


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["plan"], "name a recipe, or a model with --model DIR"),
        (["plan", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["plan", "--model", "nowhere"], "nowhere: does not exist"),
        (["plan", "RECIPE", "--on", "h10"], "no device named 'h10' (did you mean 'h100'?)"),
        (["plan", "RECIPE", "--memory", "much"], "expected a size like 24GiB"),
        (["plan", "RECIPE", "train.micro=7"], "train.micro is 7 slots"),
        (["plan", "RECIPE", "optim.use=adamm"], "no optimizer named 'adamm'"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe) if word == "RECIPE" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_units() -> None:
    assert [bytes_of(t) for t in ("24GiB", "1.5 mib", "2GB", "7")] == [24 * 2**30, 1.5 * 2**20, 2e9, 7]
    assert [size(b) for b in (0, 3, 2048, 1.5 * 2**30, 1023 * 2**20)] == ["–", "3 B", "2 KiB", "1.5 GiB", "1,023 MiB"]
    assert [duration(s) for s in (5e-6, 0.25, 90, 5400, 172_800)] == ["5 µs", "250 ms", "1.5 min", "1.5 h", "2 days"]
    assert flop(3.14e23) == "3.14e+05 EFLOP"
    assert DEVICES["a100"].memory == 80 * 2**30
    assert Work(recipe=recipe_of(Spec.read(MODEL), vocab=10), rows=2, length=3).slots == 6
