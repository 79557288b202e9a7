"""metrics.jsonl: one line a step, appended at once, cut back to a step when a run goes back to it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..core.files import write_text


class Ledger:
    """Lines of numbers by step. A number that is not finite is written as null, so that every line is JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = _read(path)

    def append(self, line: dict[str, Any]) -> None:
        line = {key: _plain(value) for key, value in line.items()}
        self.lines.append(line)
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def cut(self, step: int) -> None:
        """Forgets what came after ``step``, and half a line that a kill left."""
        self.lines = [line for line in self.lines if line["step"] <= step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def sync(self) -> None:
        """Waits until the lines are on the disk."""
        if self.path.exists():
            with open(self.path, "rb") as handle:
                os.fsync(handle.fileno())


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: only the last can be torn."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole if line]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
