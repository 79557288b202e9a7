"""Recipes whose base is an adapter, and adapters beside a vocabulary that has grown: from YAML to folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from train_tiny import write_recipe

from danlu import assembly, models
from danlu.cli import main
from danlu.core import config
from danlu.core.errors import CheckpointError, ConfigError
from danlu.train import train
from danlu.train.forecast import forecast
from danlu.train.recipe import Recipe

pytestmark = pytest.mark.slow

HOOKS = [{"use": "evaluate", "every": 4}, "log"]
LORA = {"use": "lora", "rank": 4, "at": "blocks.*.{q,v,up,down}"}
SHORT = {"steps": 4, "tokens": 128, "micro": 64, "threads": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a newborn model, and one of an adapter on it."""
    home = tmp_path_factory.mktemp("adapters")
    train(write_recipe(home / "a", hooks=HOOKS, train=SHORT), out=home / "base", quiet=True)
    adapted = {"architecture": None, "base": str(home / "base"), "adapter": LORA, "also_train": ["norm"]}
    train(write_recipe(home / "b", hooks=HOOKS, train=SHORT, **adapted), out=home / "lora", quiet=True)
    return home


def recipe(home: Path, name: str, **changes: object) -> Path:
    return write_recipe(home / name, **{"hooks": HOOKS, "train": SHORT, "architecture": None, **changes})


def test_an_adapter_goes_on_where_it_was(home: Path) -> None:
    """Its first loss is its last, the base is the same, and the base's own weights are not touched."""
    before = json.loads((home / "lora" / "report.json").read_text())["held_out_loss"]["after"]
    run = train(recipe(home, "c", base=str(home / "lora"), tokenizer=None), out=home / "on", quiet=True)
    held = run.report["held_out_loss"]
    assert held["before"] == pytest.approx(before, abs=1e-6)
    assert held["after"] < held["before"]
    first, second = (json.loads((home / name / "final/danlu/adapter.json").read_text()) for name in ("lora", "on"))
    assert (first["adapter"], first["trains"]) == (second["adapter"], second["trains"])
    assert first["base"]["fingerprint"] == second["base"]["fingerprint"]
    assert (home / "on" / second["base"]["path"]).is_dir()
    a, b = (assembly.load(home / name)[0].state_dict() for name in ("lora", "on"))
    changed = {
        name.rpartition(".")[2] if "deltas" not in name else "deltas" for name in a if not a[name].equal(b[name])
    }
    assert changed == {"deltas", "weight"}
    assert [n for n in a if not a[n].equal(b[n]) and "deltas" not in n] == ["norm.weight"]


@pytest.mark.parametrize(
    "changes", [{"adapter": {**LORA, "rank": 2}}, {"adapter": LORA, "also_train": ["embed"]}, {"adapter": "ia3"}]
)
def test_another_adapter_on_an_adapter_is_one_sentence(changes: dict, home: Path) -> None:
    asked = recipe(home, "d", base=str(home / "lora"), **changes)
    with pytest.raises(ConfigError, match=r"is an adapter.*goes on as it is; strike adapter.*or danlu merge it first"):
        train(asked, out=home / "never", quiet=True)
    assert not (home / "never" / "checkpoints").exists()


def test_an_adapter_of_pefts_is_made_one_of_danlus_first(home: Path, tmp_path: Path) -> None:
    model, tokenizer = assembly.load(home / "lora")
    folder = assembly.save(model, tokenizer, tmp_path / "theirs")
    for file in (folder / "danlu").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match=r"as PEFT keeps it; make it one of danlu's.*danlu.save"):
        train(recipe(home, "e", base=str(folder)), out=home / "never", quiet=True)
    assembly.save(*assembly.load(folder), tmp_path / "ours")
    train(recipe(home, "f", base=str(tmp_path / "ours")), out=tmp_path / "on", quiet=True)


def test_a_base_that_changed_since_is_refused(home: Path, tmp_path: Path) -> None:
    model, tokenizer = models.load(home / "base")
    base = models.save(model, tokenizer, tmp_path / "base")
    first = recipe(tmp_path, "g", base=str(base), adapter=LORA)
    train(first, out=tmp_path / "lora", quiet=True)
    with torch.no_grad():
        model.embed.weight[0] += 1
    models.save(model, tokenizer, base, overwrite=True)
    with pytest.raises(CheckpointError, match="was trained on other weights than those in"):
        train(recipe(tmp_path, "h", base=str(tmp_path / "lora")), out=tmp_path / "on", quiet=True)


def test_a_plan_of_a_base_that_is_an_adapter_counts_the_adapter(home: Path) -> None:
    """As much as the recipe that trained it, and not what training everything takes."""
    said = {"base": str(home / "base"), "adapter": LORA, "also_train": ["norm"]}
    bases = [{"base": str(home / "lora")}, said, {"base": str(home / "base")}]
    on, first, full = (forecast(config.load(Recipe, recipe(home, f"i{i}", **base))) for i, base in enumerate(bases))
    assert on.memory == first.memory != full.memory


def test_new_words_are_learned_beside_lora(home: Path, tmp_path: Path) -> None:
    """tokenizer extend → train with also_train [embed, head] → merge: the new rows moved, and all of it opens."""
    words = tmp_path / "words.txt"
    words.write_text("zugzwang zwischenzug zugzwang zwischenzug\n" * 50)
    grown = tmp_path / "grown"
    base = home / "base" / "final"
    extend = ["tokenizer", "extend", str(base), "--model", str(base), "--text", str(words), "--add", "4"]
    assert main([*extend, "--out", str(grown)]) == 0
    settings = {"base": str(grown), "tokenizer": None, "adapter": LORA, "also_train": ["embed", "head"]}
    train(recipe(tmp_path, "j", **settings), out=tmp_path / "run", quiet=True)
    before, tokenizer = models.load(grown)
    adapted, own = assembly.load(tmp_path / "run")
    assert tokenizer is not None
    assert own is not None
    assert own.vocab_size == tokenizer.vocab_size > models.load(base)[0].dims.vocab
    assert adapted.embed.weight.shape == before.embed.weight.shape
    assert not adapted.embed.weight.equal(before.embed.weight)
    assert main(["merge", str(tmp_path / "run"), str(tmp_path / "merged"), "--verify", "zugzwang"]) == 0
    merged, _ = models.load(tmp_path / "merged")
    tokens = torch.tensor([own.encode("the zugzwang asks why")])
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens), adapted(tokens), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(merged(tokens), before(tokens), atol=1e-3)
