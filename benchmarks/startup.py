"""Start-up seconds: what a person waits for before anything happens."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from table import medians, row, skipped, text

ROUNDS = 5


def rows() -> list[dict[str, Any]]:
    folder = Path(sys.executable).parent
    ours = [str(folder / "danlu"), "--help"]
    lines = []
    for peer in ("trl", "transformers", "accelerate", "lm_eval"):
        command = shutil.which(peer, path=str(folder))
        if command is None:
            lines.append(skipped("--help", f"{peer} is not installed here", against=peer, aim="≤ 1"))
            continue
        lines.append(_pair("--help", ours, [command, "--help"], peer, 1.0))
    import_ours = [sys.executable, "-c", "import danlu"]
    lines.append(_pair("import", import_ours, [sys.executable, "-c", "import transformers"], "transformers", 1.0))
    bare = [sys.executable, "-c", "pass"]
    lines.append(_pair("--help", ours, bare, "python, doing nothing (aim: 0.3 s)", round(0.3 / _wall(bare), 1)))
    return lines


def _pair(what: str, ours: list[str], peer: list[str], name: str, aim: float) -> dict[str, Any]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        times[0].append(_wall(ours))
        times[1].append(_wall(peer))
    a, b = medians(*times)
    return row(f"danlu {what}", a, b, unit="s", against=name, aim=aim, lower=True)


def _wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
