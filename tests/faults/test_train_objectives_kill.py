"""kill -9 in the middle of a run whose objective draws masks, pairs or own words: every bit as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMES = ["masked", "next_sentence", "scheduled_sampling"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("objectives_killed.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("killed"))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_resumed_is_uninterrupted(found: dict[str, Any], name: str) -> None:
    case = found[name]
    assert case["code"] == -9, "the kill did not happen"
    assert case["steps"] == ["step-000002"], "the run was not killed between its first two checkpoints"
    assert case["killed"] == case["whole"]


@pytest.mark.slow
def test_samples_differ_from_step_to_step_and_held_out_ones_do_not(found: dict[str, Any]) -> None:
    """Own words come in as steps go by; the same held-out questions are asked after the kill."""
    for name in NAMES:
        whole = found[name]["whole"]
        losses = [line[1] for line in whole["trained"]]
        assert len(set(losses)) == len(losses) == 8
        assert [step for step, _ in whole["held"]] == [0, 3, 6, 8]
