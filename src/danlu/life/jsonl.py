"""Rows of JSON, one a line: what stages hand to each other, and what a user can look into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..core.files import atomic


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Writes them as they come, the file appearing when all are there; answers how many."""
    count = 0
    with atomic(path) as draft, open(draft, "w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_rows(path: Path) -> Iterator[Any]:
    """The rows of a file that a stage wrote."""
    with open(path, encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)
