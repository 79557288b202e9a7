"""Lines and bars as inline SVG: the colors come from the page's style, the layout from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 34

Series = tuple[str, Sequence[tuple[float, float]]]


def lines(series: Sequence[Series], *, across: str, up: str) -> str:
    """Polylines of (x, y) with a grid of round numbers; a series without points is left out."""
    drawn = [(name, points) for name, points in series if points]
    if not drawn:
        return ""
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    low_x, high_x, low_y, high_y = min(xs), max(max(xs), min(xs) + 1e-9), min([0.0, *ys]), max(*ys, 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT),
            TOP + (high_y - y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_grid_line(place(low_x, y)[1], y) for y in _ticks(low_y, high_y)]
    parts += [_text(place(x, low_y)[0], HEIGHT - BOTTOM + 16, _short(x), "middle") for x in _ticks(low_x, high_x)]
    for number, (name, points) in enumerate(drawn):
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(x, y) for x, y in points))
        parts.append(f'<polyline class="s{number % 3}" fill="none" stroke-width="1.8" points="{path}"/>')
        parts.append(f'<line class="s{number % 3}" stroke-width="3" x1="{WIDTH - 190}" x2="{WIDTH - 170}" '
                     f'y1="{TOP + 8 + 18 * number}" y2="{TOP + 8 + 18 * number}"/>')  # fmt: skip
        parts.append(_text(WIDTH - 164, TOP + 12 + 18 * number, name, "start"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 2, across, "middle"))
    parts.append(f'<text transform="translate(12 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    return _svg(HEIGHT, parts)


def bars(groups: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str]) -> str:
    """Shares between 0 and 1 as horizontal bars: a group a label, a bar a name; None is left out."""
    if not groups:
        return ""
    thick, gap, start = 12, 10, 150
    parts, y = [], 24
    for number, name in enumerate(names):
        x = start + number * 190
        parts.append(f'<rect class="b{number % 3}" x="{x}" y="4" width="12" height="12"/>')
        parts.append(_text(x + 18, 14, name, "start"))
    for label, values in groups:
        parts.append(_text(start - 8, y + thick * len(values) / 2 + 4, label, "end"))
        for number, value in enumerate(values):
            if value is not None:
                width = value * (WIDTH - start - 60)
                parts.append(
                    f'<rect class="b{number % 3}" x="{start}" y="{y}" width="{width:.1f}" height="{thick - 2}"/>'
                )
                parts.append(_text(start + width + 4, y + 10, f"{value:.0%}", "start"))
            y += thick
        y += gap
    return _svg(y, parts)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers within [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / 4)) if high > low else 1.0
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, first + 7) if k * step <= high * (1 + 1e-9)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"


def _grid_line(y: float, value: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(LEFT - 6, y + 4, _short(value), "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )
