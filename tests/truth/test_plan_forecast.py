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
from danlu.plan import Work, memory
from danlu.plan.choices import PROCESS, choices
from danlu.plan.devices import DEVICES
from danlu.plan.report import Plan, duration, flop, size
from danlu.plan.request import bytes_of
from danlu.train.forecast import forecast, state_bytes
from danlu.train.optims import OPTIMS
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
    assert (work.rows, work.length, work.micros, work.documents) == (4, 128, 2, False)
    assert work.recipe == recipe_of(Spec.read(MODEL), vocab=work.recipe.dims.vocab)
    assert plan.peak_bytes == memory(work).peak_bytes
    assert plan.fits
    changed = danlu.plan(
        recipe, ["train.recompute=blocks", "train.ramp=[[0,1],[5,3]]", "data.pack.rows=packed"], on="a100"
    )  # type: ignore[operator]
    assert changed.work.recompute
    assert changed.work.documents
    assert changed.work.micros == 6, "the largest factor of the ramp is what must fit"


@pytest.mark.parametrize(
    ("name", "settings", "expected"), [("adamw", {}, 8), ("sgd", {}, 0), ("sgd", {"momentum": 0.9}, 4)]
)
def test_bytes_of_optimizer_states(name: str, settings: dict, expected: float) -> None:
    assert state_bytes(OPTIMS[name](**settings)) == expected


def test_the_fix_is_the_mildest_that_fits(recipe: Path) -> None:
    read = danlu.core.config.load(Recipe, recipe)  # type: ignore[attr-defined]
    peaks = [(c.changes, c.peak_bytes) for c in choices(forecast(read, on="a100").work)]
    assert peaks[0][0] == "as planned"
    assert min(peak for _, peak in peaks) < peaks[0][1]
    limit = PROCESS + peaks[1][1]
    with pytest.raises(ConfigError, match=r"but A100 80 GB has .*; with train\.micro=256 it needs .* and fits"):
        forecast(read, on="a100", limit=limit).check()
    with pytest.raises(ConfigError, match=r"even with train.* take a smaller model"):
        forecast(read, on="a100", limit=PROCESS).check()
    assert forecast(read, on="a100", limit=PROCESS + peaks[0][1]).check().fits


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
    assert written["training_bytes"]["step"]["weights"] == 4 * written["parameters"]["total"]
    assert written["steps"] == 20


def test_the_verb_plans_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "max_position_embeddings": 2048,
    }  # fmt: skip
    file = tmp_path / "any.json"
    file.write_text(json.dumps(config))
    assert main(["plan", "--model", str(file), "--on", "a100", "--precision", "bf16", "--memory", "80GiB"]) == 0
    page = capsys.readouterr().out
    assert "6,738,415,616" in page
    assert "does not fit into 80 GiB" in page


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


def test_a_length_beyond_the_context(tmp_path: Path, recipe: Path) -> None:
    from danlu.plan.request import of_model

    config = {"model_type": "gpt2", "vocab_size": 99, "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="context of 64, found 65"):
        of_model(str(tmp_path), length=65, on="t4")
    plan = of_model(str(tmp_path), rows=3, on="t4")
    assert isinstance(plan, Plan)
    assert (plan.work.length, plan.work.rows, plan.serve_rows) == (64, 3, 3)


def test_units() -> None:
    assert [bytes_of(t) for t in ("24GiB", "1.5 mib", "2GB", "7")] == [24 * 2**30, 1.5 * 2**20, 2e9, 7]
    assert [size(b) for b in (0, 3, 2048, 1.5 * 2**30, 1023 * 2**20)] == ["–", "3 B", "2 KiB", "1.5 GiB", "1,023 MiB"]
    assert [duration(s) for s in (5e-6, 0.25, 90, 5400, 172_800)] == ["5 µs", "250 ms", "1.5 min", "1.5 h", "2 days"]
    assert flop(3.14e23) == "3.14e+05 EFLOP"
    assert DEVICES["a100"].memory == 80 * 2**30
    assert Work(recipe=recipe_of(Spec.read(MODEL), vocab=10), rows=2, length=3).slots == 6


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, ()),
        ({"ffn": "moe", "norm": "prms"}, ("no formula for what ffn moe, norm prms keeps: the peak is a guess",)),
        ({"position": "alibi"}, ("no formula for what position alibi keeps: the peak is a guess",)),
        ({"kernels": ["tiled"]}, ("no formula for what kernel tiled keeps: the peak is a guess",)),
    ],
)
def test_a_part_without_a_formula_is_said(parts: dict, said: tuple[str, ...]) -> None:
    made = recipe_of(Spec("decoder", {"model": 32, "layers": 1, "heads": 2, "context": 16, **parts}), vocab=50)
    assert Plan(title="", work=Work(recipe=made, rows=1, length=16), device=DEVICES["a100"]).said == said
