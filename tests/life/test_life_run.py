"""Stages are done once, again when their inputs change, and go on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from lives import MODEL, recipe_of, training, world_stages

from danlu.core.errors import ConfigError, DanluError, DataError
from danlu.core.files import sha256
from danlu.life import Life, run


def weights(folder: Path) -> str:
    return sha256(folder / "final" / "model.safetensors")


def test_every_stage_leaves_files_and_figures(lived: Life) -> None:
    assert list(lived.records) == list(world_stages())
    assert all(record["seconds"] >= 0 and record["figures"] for record in lived.records.values())
    assert lived.report is not None
    assert lived.report.stat().st_size > 10_000
    assert str(lived.report) in lived.closing


def test_a_second_run_does_nothing_again(lived: Life, said: Any) -> None:
    lines, say = said
    before = {p: p.stat().st_mtime_ns for p in lived.folder.rglob("*.safetensors")}
    again = run(lived.folder / "life.yaml", quiet=True, say=say)
    assert again.records == lived.records
    assert all(" done " in line for line in lines)
    assert {p: p.stat().st_mtime_ns for p in lived.folder.rglob("*.safetensors")} == before


def test_a_changed_setting_redoes_its_stage_and_what_reads_it(lived: Life, tmp_path: Path, said: Any) -> None:
    lines, say = said
    copy = tmp_path / "run"
    shutil.copytree(lived.folder, copy)
    stages = world_stages()
    stages["after"]["max_tokens"] = 5
    run(recipe_of(stages, copy), quiet=True, say=say)
    done = {line.split()[0] for line in lines if " done " in line}
    assert done == {"corpus", "tokenizer", "store", "pretrain", "before", "sft", "samples"}


def test_changed_inputs_of_the_user_are_noticed(own_files: Path, tmp_path: Path, said: Any) -> None:
    lines, say = said
    copy = tmp_path / "text"
    shutil.copytree(own_files / "text", copy)
    stages = {"corpus": {"use": "files", "text": [str(copy)]}}
    for _ in range(2):
        run(recipe_of(stages, tmp_path / "run"), quiet=True, say=say)
    (copy / "en.txt").write_text("Another text.\n" * 50, encoding="utf-8")
    run(recipe_of(stages, tmp_path / "run"), quiet=True, say=say)
    assert [" done " in line for line in lines] == [False, True, False]


@pytest.mark.slow
def test_killed_at_any_time_the_same_command_goes_on_to_the_same_model(lived: Life, tmp_path: Path) -> None:
    """kill -9 at three places in time; then one run to the end gives the very weights of the uninterrupted life."""
    recipe = tmp_path / "life.yaml"
    recipe.write_text(
        yaml.safe_dump({"stages": world_stages(), "out": str(tmp_path / "run"), "seed": 1}, sort_keys=False)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "danlu", "run", str(recipe)]
    markers = ["tokenizer.json", "pretrain.begun.json", "sft.begun.json"]
    for marker in markers:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while (
            process.poll() is None and time.monotonic() < deadline and not (tmp_path / "run/stages" / marker).exists()
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run/stages" / marker).exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "tokenizer        done" in done.stdout
    assert weights(tmp_path / "run/sft") == weights(lived.folder / "sft")
    assert json.loads((tmp_path / "run/stages/after.json").read_text())["figures"] == lived.figures("after")


def test_fresh_begins_anew_and_leaves_other_files_alone(lived: Life, tmp_path: Path, said: Any) -> None:
    lines, say = said
    stages = {name: world_stages()[name] for name in ("corpus", "tokenizer")}
    run(recipe_of(stages, tmp_path), quiet=True)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    run(recipe_of(stages, tmp_path), fresh=True, quiet=True, say=say)
    assert not [line for line in lines if " done " in line]
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corpus": {"use": "wrold"}}, "did you mean 'world'"),
        ({"corpus": {"use": "world", "poeple": 4}}, "poeple"),
        ({"corpus": {"use": "world", "corpora": {"biography": {}}}}, "biographies"),
        ({"corpus": {"use": "files"}}, "corpus.text is empty"),
        ({"corpus": {"use": "files", "text": ["nowhere"]}}, "nowhere"),
        ({"store": {"use": "store", "of": ["corpus"]}}, "no training stage"),
        ({"samples": {"use": "samples", "model": "sft"}}, "name chats"),
        ({"before": {"use": "exam", "model": "sft"}}, "sft is not before it"),
        ({"pretrain": training([{"from": "corpus/biographies.jsonl"}], 2, tokenizer="tokenizer", architecture=MODEL)
          | {"recipe": {"trian": {}}}}, "recipe"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_one_sentence(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DanluError) as error:
        run(recipe_of(world_stages() | change, tmp_path), quiet=True)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_no_stages_and_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stages is empty"):
        recipe_of({}, tmp_path)
    with pytest.raises(ConfigError, match="a stage's name is its folder"):
        recipe_of({"../up": {"use": "world"}}, tmp_path)


def test_a_missing_input_is_found_before_the_first_stage_works(tmp_path: Path) -> None:
    stages = world_stages()
    stages["samples"]["exercises"] = "no/such/exam.jsonl"
    with pytest.raises(DataError, match=r"no/such/exam\.jsonl: no such file"):
        run(recipe_of(stages, tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run" / "corpus").exists()
