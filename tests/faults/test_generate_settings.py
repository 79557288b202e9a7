"""danlu generate --set: every setting of a request from the command line, mistakes in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from talkers import small_model, small_tokenizer

import danlu.models
from danlu.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    danlu.models.save(small_model(), small_tokenizer(folder / "tokenizer"), folder / "model")
    return folder / "model"


def _asked(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict]:
    words = [word for setting in more for word in ("--set", setting)]
    assert main(["generate", str(folder), "the cat", "--max-tokens", "12", "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_settings_act(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plain,) = _asked(folder, capsys)
    first = plain["tokens"][0]
    (without,) = _asked(folder, capsys, f"bad_words=[[{first}]]")
    assert first not in without["tokens"]
    (biased,) = _asked(folder, capsys, "logit_bias.77=100000", "ignore_eos=true")
    assert biased["tokens"] == [77] * 12
    (once,) = _asked(folder, capsys, "no_repeat_ngram_size=1")
    assert len(set(once["tokens"])) == len(once["tokens"])
    (digits,) = _asked(folder, capsys, "constraint.regex='[ab]{3}'")
    assert re.fullmatch("[ab]{3}", digits["text"])


def test_several_answers_stand_beside_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three = _asked(folder, capsys, "n=3", "temperature=2.0")
    assert [line["prompt"] for line in three] == ["the cat"] * 3
    assert len({tuple(line["tokens"]) for line in three}) == 3
    beams = _asked(folder, capsys, "n=2", "search=beam", "search.width=4")
    assert len({tuple(line["tokens"]) for line in beams}) == 2


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("min_p", "'min_p' is no override; write key=value"),
        ("minp=0.1", "generate: no key named 'minp' (did you mean 'min_p'?)"),
        ("min_p=7", "generate: min_p 7.0: must lie within [0, 1]"),
        ("bad_words=3", "generate: bad_words: expected a list, found int"),
        ("logit_bias.999=1", "logit_bias id 999 is no token of the model; its ids are 0 … 266"),
        ("search=best", "no search named 'best'"),
        ("constraint.regex='['", "regex"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], setting: str, sentence: str
) -> None:
    assert main(["generate", str(folder), "the cat", "--set", setting]) == 2
    said = capsys.readouterr().err
    assert said.startswith("danlu: ")
    assert sentence in said
    assert "Traceback" not in said
