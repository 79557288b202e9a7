"""kill -9 while an adapter is trained: what is left in the end is the same, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("adapters_killed.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("killed"))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["in_a_save", "midway"])
@pytest.mark.parametrize(
    ("method", "needed"),
    [
        ("lora", "final/adapter_model.safetensors"),
        ("relora", "final/model.safetensors"),
        ("adalora", "final/danlu/adapter.safetensors"),
    ],
)
def test_a_killed_adapter_ends_as_if_it_had_not_been(
    method: str, needed: str, case: str, found: dict[str, Any]
) -> None:
    """LoRA beside embedding and head, ReLoRA, whose base moves, and AdaLoRA, whose budget falls."""
    whole, killed = found[method]["whole"], found[method][case]
    assert [line[0] for line in whole["trained"]] == list(range(1, 10))
    assert {needed, "last/danlu/optimizer.safetensors"} <= set(whole["files"])
    assert (method == "relora") == ("last/model.safetensors" in whole["files"])
    assert killed["code"] == -9, "the kill did not happen"
    assert killed["resumed"], "it began anew"
    for key in ("trained", "checkpoints", "files"):
        assert killed[key] == whole[key], f"{key} differ"
