"""Tables and pictures of what experiments found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..core.errors import MissingExtra
from ..core.files import atomic

NAMES, FEW = 25, 4  # points that can all be named, and how many are where there are more


@dataclass(frozen=True)
class Column:
    """One figure of each row: its key, its heading, how it is written, and in which unit."""

    key: str
    heading: str
    format: str
    unit: float = 1.0

    def value(self, row: dict[str, Any]) -> Any:
        found = row.get(self.key)
        return found / self.unit if isinstance(found, float) or (found is not None and self.unit != 1.0) else found

    def cell(self, row: dict[str, Any]) -> str:
        found = self.value(row)
        return "–" if found is None else format(found, self.format)


def markdown(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, aligned so that a terminal shows it too; the first column to the left."""
    cells = [[column.heading for column in columns], *([column.cell(row) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    lines = ["| " + " | ".join(_pad(line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _named(rows: Sequence[dict[str, Any]], column: Column) -> Sequence[dict[str, Any]]:
    if len(rows) <= NAMES:
        return rows
    middle = median(column.value(row) for row in rows)
    return sorted(rows, key=lambda row: -abs(column.value(row) - middle))[:FEW]


def scatter(path: Path, rows: Sequence[dict[str, Any]], *, across: Column, up: Sequence[Column]) -> None:
    """A panel for each column of ``up``, a point for each row; ``across`` is spaced by factors of ten.

    Where there are too many points for their names, only those farthest from the median are named.

    Raises: MissingExtra without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "drawing a picture") from None
    figure = Figure(figsize=(6 * len(up), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, column in zip(figure.subplots(1, len(up), squeeze=False).flat, up, strict=True):
        place.set_xscale("log")
        place.set_xlabel(across.heading)
        place.set_ylabel(column.heading)
        place.grid(alpha=0.3)
        place.scatter([across.value(row) for row in rows], [column.value(row) for row in rows], s=18, color="tab:blue")
        for row in _named(rows, column):
            x, y = across.value(row), column.value(row)
            place.annotate(row["method"], (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
    with atomic(path) as draft:
        figure.savefig(draft, dpi=110, format="png")
