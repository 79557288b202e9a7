"""A small life about extrapolation: its figures are those of `danlu eval --recall`, its text can be read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lives import recipe_of

from danlu.cli import main
from danlu.core import config
from danlu.core.errors import ConfigError
from danlu.evaluate.passages import LETTERS, MARK
from danlu.life import Life, LifeRecipe, run
from danlu.life.jsonl import read_rows
from danlu.life.stages import STAGES

ROOT = Path(__file__).parents[2]
YARN = {"use": "rope", "scaling": {"use": "yarn", "factor": 4}}


def stages() -> dict[str, Any]:
    architecture = {"use": "decoder", "model": 16, "layers": 1, "heads": 2, "context": 32, "position": "rope"}
    recipe: dict[str, Any] = {
        "data": {"parts": [{"from": "passages/passages.jsonl"}], "pack": {"length": 32, "too_long": "error"}},
        "train": {"steps": 3, "tokens": 128, "micro": 128},
    }
    return {
        "passages": {"use": "passages", "count": 80, "longest": 31},
        "tokenizer": {"use": "tokenizer", "kind": "char", "vocab": 160, "files": ["passages/passages.jsonl"]},
        "rope": {"use": "train", "recipe": {**recipe, "tokenizer": "tokenizer", "architecture": architecture}},
        "tuned": {"use": "train", "recipe": {**recipe, "base": "rope/final", "position": YARN, "context": 64}},
        "recall": {"use": "recall", "distances": [4, 16, 40], "passages": 2,
                   "of": {"direct": "rope", "YaRN": {"model": "rope", "position": YARN}, "tuned": "tuned"}},
        "report": {"use": "report"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return run(recipe_of(stages(), tmp_path_factory.mktemp("extrapolation") / "run"), quiet=True)


def test_passages_hold_only_letters_and_answer_themselves(found: Life) -> None:
    texts = [row["text"] for row in read_rows(found.folder / "passages/passages.jsonl")]
    assert len(texts) == found.figures("passages")["passages"] == 80
    assert sum(map(len, texts)) == found.figures("passages")["symbols"]
    assert set("".join(texts)) <= {*LETTERS, MARK}
    for number, text in enumerate(texts):
        told, asked = text.split(MARK)
        assert len(text) <= 31
        assert told == asked if number % 4 < 3 else all(asked[n : n + 2] in told for n in range(0, len(asked), 2))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("direct", ["rope"]), ("YaRN", ["rope", "--position", json.dumps(YARN)]), ("tuned", ["tuned"])],
)
def test_the_figures_are_those_of_the_verb(
    found: Life, name: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, *more = arguments
    asked = ["--recall", "4", "16", "40", "--passages", "2", "--quiet", "--json", str(tmp_path / "figures.json")]
    assert main(["eval", str(found.folder / model / "final"), *asked, *more]) == 0
    said = json.loads((tmp_path / "figures.json").read_text())["recall"]
    assert said.pop("context") == (64 if name == "tuned" else 32)
    assert said == found.figures("recall")["of"][name]
    assert f"{said['copy'][1]['accuracy']:.4f}" in capsys.readouterr().out


def test_the_report_shows_every_accuracy(found: Life) -> None:
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    for measured in found.figures("recall")["of"].values():
        for one in (*measured["copy"], *measured["recall"]):
            assert f"{one['accuracy']:.3f}" in page
    assert found.figures("recall")["drawn"] == (found.folder / "recall/recall.png").is_file()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"of": {}}, "recall.of is empty"),
        ({"of": {"x": {"position": "rope"}}}, "recall.of.x: write a stage"),
        ({"of": {"x": {"model": "rope", "positon": "rope"}}}, "recall.of.x: write a stage"),
    ],
)
def test_settings_that_name_nothing(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        STAGES["recall"](**settings)  # type: ignore[call-arg]


def test_passages_without_room_are_refused() -> None:
    with pytest.raises(ConfigError, match="longest at least 21, found 80 and 20"):
        STAGES["passages"](count=80, longest=20)  # type: ignore[call-arg]


def test_the_recipe_of_the_documentation_is_read_and_its_stages_are_built() -> None:
    recipe = config.load(LifeRecipe, ROOT / "recipes/extrapolation.yaml")
    built = {name: spec.build(STAGES) for name, spec in recipe.stages.items()}
    measured = {stage for stage, _ in built["recall"].of.values()}
    assert measured == {name for name, spec in recipe.stages.items() if spec.use == "train"}
