"""Every published figure on file that is not doubtful, against the calculators that answer its kind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from danlu.cli import main
from danlu.core.errors import ConfigError
from danlu.plan.answers import ANSWERS
from danlu.plan.architectures import parameters_of
from danlu.plan.cases import answer, held, hold_all

FILE = Path(os.environ.get("DANLU_SHARED", Path(__file__).parents[3] / "shared")) / "facts/planner_cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.is_file() else []
SURE = [case for case in CASES if not case["doubtful"]]


def test_the_file_is_there_and_every_kind_has_a_calculator(shared: Path) -> None:
    assert len(SURE) == 114
    assert {case["kind"] for case in CASES} <= set(ANSWERS)


@pytest.mark.parametrize("case", SURE, ids=lambda case: case["id"])
def test_published(case: dict[str, Any]) -> None:
    found = held(case)
    assert found.holds, f"{found.name}: {found.found} instead of {found.expected}"


@pytest.mark.parametrize(
    "case", [c for c in SURE if isinstance(c["expected"], (int, float)) and c["expected"] is not True],
    ids=lambda case: case["id"],
)  # fmt: skip
def test_a_wrong_figure_would_be_seen(case: dict[str, Any]) -> None:
    """Outside its tolerance, a figure does not hold."""
    wide = case["tolerance"].get("rel", 0) * case["expected"] + case["tolerance"].get("abs", 0)
    assert not held({**case, "expected": case["expected"] * 1.001 + 2.5 * wide}).holds


def test_the_verb_holds_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"kind": "pf_days", "inputs": {"flops": 8.64e19}, "expected": 1.0, "tolerance": {"rel": 1e-9}}
    file = tmp_path / "cases.json"
    file.write_text(json.dumps([good, {**good, "expected": 5, "doubtful": True}]))
    assert main(["plan", "--cases", str(file)]) == 0
    assert "1 of 1 hold" in capsys.readouterr().out
    file.write_text(json.dumps([good, {**good, "expected": 2.0}]))
    assert main(["plan", "--cases", str(file)]) == 2
    assert "1 figures do not hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "expected a list of cases"),
        ('[{"kind": "weather", "inputs": {}, "expected": 1}]', "no kind of published figure named 'weather'"),
        ('[{"kind": "pf_days", "inputs": {}, "expected": 1}]', "the input 'flops' is missing"),
        ('[{"kind": "params_total", "inputs": {"arch": "lama"}, "expected": 1}]', "did you mean 'llama'"),
    ],
)
def test_a_file_that_is_no_list_of_cases(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        hold_all(tmp_path / "cases.json")


def test_answers_are_plain_functions() -> None:
    given = {"layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "bytes": 2, "attention": "mla"}
    assert answer("kv_bytes_per_token", given) == 70_272
    llama = {"hidden": 4096, "layers": 32, "heads": 32, "ffn": 11008, "vocab": 32000}
    assert answer("params_total", {"arch": "llama", **llama, "pos": "rope"}) == 6_738_415_616
    assert parameters_of("llama", **llama).linear == 6_476_005_376
