"""kill -9 anywhere: in a save before any file operation of it, and from outside at any time; every bit as if never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OPERATIONS = [2, 9, 10, 11, 24, 29, 31, 32, 34, 35, 36]
"""Of the first save and of the first that deletes an old checkpoint: files, manifest, rename, pruning."""
CASES = [*(f"operation-{number}" for number in OPERATIONS), "any time"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("train_killed.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("killed")), *map(str, OPERATIONS)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_as_if_it_had_not_been(found: dict[str, Any], case: str) -> None:
    whole, killed = found["whole"], found[case]
    assert killed.get("code", -9) == -9, "the kill did not happen"
    assert killed.get("kills", 1) >= 1, "the run was through before the first kill"
    for key in ("weights", "optimizer", "state", "trained", "held", "checkpoints"):
        assert killed[key] == whole[key], f"{key} differ"


@pytest.mark.slow
def test_the_uninterrupted_run_is_what_it_should_be(found: dict[str, Any]) -> None:
    """Each step once, in order; its loss falls; two checkpoints are kept and nothing half-written lies about."""
    steps = [line[0] for line in found["whole"]["trained"]]
    assert steps == list(range(1, 16))
    assert [step for step, _ in found["whole"]["held"]] == [0, 3, 6, 9, 12, 15]
    assert found["whole"]["held"][-1][1] < found["whole"]["held"][0][1] - 0.5
    assert found["whole"]["checkpoints"] == ["step-000014", "step-000015"]
