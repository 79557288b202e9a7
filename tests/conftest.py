"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of tests are tiny: a second thread only waits for the first


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference fixtures; absent on a user's machine."""
    folder = Path(os.environ.get("DANLU_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the shared reference data lies beside the checkout only where the project is developed")
    return folder
