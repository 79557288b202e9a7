"""The floors and manners of the house: every module imports, every part carries its docstring sections."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import danlu
from danlu.core.catalog import Part, catalog

ROOT = Path(__file__).parents[2]
MODULES = [m.name for m in pkgutil.walk_packages(danlu.__path__, "danlu.") if m.name != "danlu.__main__"]
PARTS = [part for parts in catalog().values() for part in parts]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__, f"{name} does not say what it is"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_every_part_says_what_it_does_and_where_it_is_proved(part: Part) -> None:
    assert part.line.endswith("."), f"{part.kind} {part.name}: the first line is no sentence: {part.line!r}"
    assert part.sections.get("Source"), f"{part.kind} {part.name} names no Source"
    truth = part.sections.get("Truth", "")
    files = re.findall(r"tests/[\w/.-]+\.py", truth)
    assert files, f"{part.kind} {part.name} names no test under Truth: {truth!r}"
    for file in files:
        assert (ROOT / file).is_file(), f"{part.kind} {part.name}: {file} does not exist"


def test_help_and_version_import_no_torch() -> None:
    code = "import sys; from danlu.cli import main; main(['--help']); assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_core_imports_no_torch_but_in_batch() -> None:
    names = ["registry", "spec", "config", "errors", "files", "rng", "ports", "progress", "catalog"]
    code = f"import sys, importlib; [importlib.import_module('danlu.core.' + n) for n in {names}]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_drawers() -> None:
    forbidden = re.compile(r"(^|_)(utils?|common|misc|helpers?|base|manager)(_|$)")
    assert not [name for name in MODULES if forbidden.search(name.rpartition(".")[2])]


def test_floors_hold() -> None:
    """No upward import, no import between siblings, no circle: import-linter reads the contract of pyproject.toml."""
    pytest.importorskip("importlinter", reason="import-linter comes with the extra 'check'")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_import_circle() -> None:
    """Between modules at import time (imports inside functions and under TYPE_CHECKING do not count)."""
    import ast

    graph = {}
    for file in (ROOT / "src/danlu").rglob("*.py"):
        package = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
        is_package = file.name == "__init__.py"
        name = package.removesuffix(".__init__")
        graph[name] = {t for node in ast.parse(file.read_text()).body for t in _targets(node, name, is_package)}
    modules = set(graph)
    edges = {name: {t for t in targets if t in modules and t != name} for name, targets in graph.items()}
    assert not (circle := _circle(edges)), " → ".join(circle)


def _targets(node: object, name: str, is_package: bool) -> set[str]:
    import ast

    if not isinstance(node, ast.ImportFrom):
        return set()
    parts = name.split(".") if is_package else name.split(".")[:-1]
    base = parts[: len(parts) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return {f"{module}.{alias.name}" for alias in node.names} | {module}


def _circle(edges: dict[str, set[str]]) -> list[str]:
    """A module importing its own package's __init__ is how registries fill: that edge is no circle."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges[name]):
            if name.startswith(f"{target}.") or target.startswith(f"{name}."):
                continue
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])
