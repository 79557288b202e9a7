"""Every code block of README and docs runs: bash and python blocks, page by page, in an empty folder.

Lines that begin with ``make`` are only checked to name a target. A page that needs a model finds the one of
``danlu demo --quick`` under runs/demo, as a reader who did what README says would.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run(["danlu", "demo", "--quick"], cwd=folder, env=environment, check=True)
    return folder / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, demo: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    text = page.read_text(encoding="utf-8")
    if "runs/demo" in text:
        shutil.copytree(demo, tmp_path / "runs")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for language, code in BLOCK.findall(text):
        done = _run(language, code, tmp_path, environment)
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    missing = [link for link in LINK.findall(prose) if not (page.parent / link).exists()]
    assert not missing


def _run(language: str, code: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    if language == "bash":
        script = re.sub(r"^make ", f"make --dry-run --directory={ROOT} ", code, flags=re.MULTILINE)
        command = ["bash", "-euo", "pipefail", "-c", script]
    else:
        command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
