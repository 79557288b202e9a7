"""A finished life, and a reader's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lives import recipe_of, world_stages

from danlu.life import Life, run


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A finished life on the world; not to be changed."""
    return run(recipe_of(world_stages(), tmp_path_factory.mktemp("life") / "run"), quiet=True)


@pytest.fixture(scope="session")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: text in both languages, and instructions in two formats."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "text").mkdir()
    english = "".join(f"The fox number {n} jumps over {n * 7 % 13} lazy dogs and sleeps.\n" for n in range(300))
    chinese = "".join(f"第{n}只狐狸跳过{n * 5 % 11}条懒狗，然后睡着了。\n" for n in range(300))
    (folder / "text" / "en.txt").write_text(english, encoding="utf-8")
    (folder / "text" / "zh.txt").write_text(chinese, encoding="utf-8")
    rows = [f'{{"instruction": "Double {n}.", "input": "", "output": "{2 * n}"}}\n' for n in range(60)]
    (folder / "alpaca.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def said() -> tuple[list[str], Callable[[str], None]]:
    """Lines a life says, and what to give it as ``say``."""
    lines: list[str] = []
    return lines, lines.append
