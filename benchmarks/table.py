"""One line of the benchmark table: ours beside a peer's, the ratio, the aim and whether it held."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any


def row(
    what: str, ours: float, peer: float, *, unit: str, against: str, aim: float, lower: bool = False, why: str = ""
) -> dict[str, Any]:
    """A measured line.  ``ratio`` is ours / peer; ``lower`` says that less is better (bytes, seconds).

    ``why`` explains a figure that falls short of its aim, and is shown only then.
    """
    ratio = ours / peer
    held = ratio <= aim if lower else ratio >= aim
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "unit": unit,
        "against": against,
        "ratio": round(ratio, 3),
        "aim": f"{'≤' if lower else '≥'} {aim:g}",
        "held": held,
        "why": "" if held else why,
    }


def skipped(what: str, why: str, *, against: str = "", aim: str = "") -> dict[str, Any]:
    """A line that could not be measured here, and why: it is shown, not hidden."""
    nothing = {"ours": None, "peer": None, "unit": "", "ratio": None, "held": None}
    return {"what": what, **nothing, "against": against, "aim": aim, "why": why}


def paired(ours: Callable[[], float], peer: Callable[[], float], rounds: int = 2) -> tuple[list[float], list[float]]:
    """Measures A B A B …: a machine that slows down slows both."""
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        b.append(peer())
    return a, b


def medians(*series: Iterable[float]) -> list[float]:
    return [statistics.median(values) for values in series]


def text(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, which is also readable in a terminal."""
    head = ["benchmark", "what", "ours", "peer", "unit", "against", "ratio", "aim", "held", "day"]
    lines = [[_cell(r, name) for name in head] for r in rows]
    widths = [max(len(name), *(len(line[i]) for line in lines)) for i, name in enumerate(head)]
    draw = lambda cells: "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"  # noqa: E731
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    notes = [f"- {r['what']} ({r['against']}): {r['why']}" for r in rows if r.get("why")]
    return "\n".join([draw(head), rule, *map(draw, lines), *(["", *notes] if notes else [])])


def _cell(line: dict[str, Any], name: str) -> str:
    value = line.get(name, "")
    if value is None:
        return "not measured" if name == "held" else "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
