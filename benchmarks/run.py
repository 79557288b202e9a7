"""Runs every benchmark of this folder and writes the table: python benchmarks/run.py [NAME …]

Each file that has ``rows() -> list[dict]`` (lines of ``table.row``) is a benchmark; its name is the file's.
Peers run in processes of their own, turn by turn with ours (A B A B); figures are medians.
The table goes to the terminal, to benchmarks/results/DATE.json and into docs/benchmarks.md.
"""

from __future__ import annotations

import ast
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table: begin (written by benchmarks/run.py) -->", "<!-- table: end -->"


def names() -> list[str]:
    """The files that define ``rows``, found without importing them."""
    found = []
    for file in sorted(HERE.glob("*.py")):
        functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
        if "rows" in functions and file.stem != "run":
            found.append(file.stem)
    return found


def measure(name: str) -> list[dict[str, Any]]:
    """The rows of a benchmark; one that fails is a row that says so, and the others still run."""
    from table import skipped

    print(f"{name} …", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        measured = importlib.import_module(name).rows()
    except Exception as error:  # a missing peer must not hide the other figures
        measured = [skipped(name, f"failed: {type(error).__name__}: {error}")]
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return [{"benchmark": name, **line} for line in measured]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for peer in ("transformers", "trl", "datasets", "tokenizers", "sentencepiece"):
        try:
            versions[peer] = importlib.metadata.version(peer)
        except importlib.metadata.PackageNotFoundError:
            versions[peer] = "absent"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 2)
    vector = torch.backends.cpu.get_cpu_capability()
    return {"cores": cores, "vector": vector, "load_before": load, "device": _device(), "versions": versions}


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def write(lines: list[dict[str, Any]], facts: dict[str, Any]) -> Path:
    """Writes the JSON of the day and the table of the document: what is measured anew replaces what was known of it."""
    day = datetime.date.today().isoformat()
    file = HERE / "results" / f"{day}.json"
    file.parent.mkdir(exist_ok=True)
    fresh = {line["benchmark"] for line in lines}
    old = [row for row in known() if row["benchmark"] not in fresh]
    lines = sorted(old + [{**line, "day": day} for line in lines], key=lambda row: row["benchmark"])
    file.write_text(json.dumps({"machine": facts, "rows": lines}, indent=2, ensure_ascii=False) + "\n")
    publish(lines, facts, file.stem)
    return file


def known() -> list[dict[str, Any]]:
    """The rows of the newest results, with the day on which each was measured."""
    files = sorted((HERE / "results").glob("*.json"))
    rows = json.loads(files[-1].read_text())["rows"] if files else []
    return [{"day": files[-1].stem, **row} for row in rows]


def publish(lines: list[dict[str, Any]], facts: dict[str, Any], day: str) -> None:
    """Replaces the generated section of docs/benchmarks.md."""
    from table import text

    page = DOCUMENT.read_text()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    about = f"Last measured {day} on {facts['cores']} cores ({facts['device']}, {facts['vector']}); {versions}."
    before, rest = page.split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{about}\n\n{text(lines)}\n\n{END}{rest.split(END)[1]}")


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    chosen = arguments or names()
    if missing := [name for name in chosen if name not in names()]:
        print(f"no benchmark named {missing[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    facts, lines, file = machine(), [], HERE
    for name in chosen:  # written one by one: what was measured survives a kill
        lines += (measured := measure(name))
        file = write(measured, facts)
    from table import text

    print(text(lines))
    print(f"\nwritten: {file.relative_to(HERE.parent)} and {DOCUMENT.relative_to(HERE.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
