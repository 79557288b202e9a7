"""Numbers with their units, and tables of them."""

from __future__ import annotations

from .work import Memory

UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
SCALES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


def phases(found: Memory, heading: str = "bytes") -> str:
    """Kinds down, phases across."""
    kinds = list(dict.fromkeys(kind for held in found.phases.values() for kind, bytes_ in held.items() if bytes_))
    rows = [(heading, *found.phases)]
    rows += [(kind, *(size(held.get(kind, 0)) for held in found.phases.values())) for kind in kinds]
    return aligned([*rows, ("sum", *(size(sum(held.values())) for held in found.phases.values()))])


def aligned(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left under its heading, the others to the right."""
    count = max(map(len, rows))
    full = [(*row, *[""] * (count - len(row))) for row in rows]
    widths = [max(len(row[i]) for row in full) for i in range(count)]
    lines = []
    for number, row in enumerate(full):
        name = row[0] if number == 0 else f"  {row[0]}"
        cells = [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0] + 2), *cells]).rstrip())
    return "\n".join(lines)


def size(bytes_: float) -> str:
    """Bytes in binary units: "1.50 GiB"."""
    if not bytes_:
        return "–"
    unit, scale = next(((u, s) for u, s in UNITS if bytes_ >= s), ("B", 1))
    return f"{bytes_ / scale:.3g} {unit}" if bytes_ / scale < 1000 else f"{bytes_ / scale:,.0f} {unit}"


def flop(count: float) -> str:
    unit, scale = next(((u, s) for u, s in SCALES if count >= s), ("", 1))
    return f"{count / scale:.3g} {unit}FLOP"


def rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def duration(seconds: float) -> str:
    """The largest fitting unit: "3.2 ms", "1.5 h"."""
    for unit, scale in (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
