"""Curves in a picture, one panel a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import MissingExtra
from ..core.files import atomic

COLORS = 10  # of matplotlib's cycle, then the lines are dashed
FEW = 5  # curves whose names fit inside the picture


@dataclass(frozen=True)
class Panel:
    """Named curves of (x, y) over one axis; a dashed line stands where what was ``trained`` ends.

    ``doubling`` spaces x by factors of two, ``share`` makes y run from 0 to 1.
    """

    across: str
    up: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    trained: float
    doubling: bool = False
    share: bool = False


def draw(panels: Sequence[Panel], path: str | Path) -> None:
    """Writes a PNG with the panels side by side.

    Raises: MissingExtra without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "drawing a picture") from None
    figure = Figure(figsize=(6 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        _draw(place, panel)
    with atomic(Path(path)) as draft:
        figure.savefig(draft, dpi=110, format="png")


def _draw(place: Any, panel: Panel) -> None:
    for number, (name, points) in enumerate(panel.curves.items()):
        style = ("-", "--", ":")[number // COLORS % 3]
        place.plot(*zip(*points, strict=True), style, label=name, marker="o", ms=3)
    if panel.doubling:
        ticks = sorted({x for points in panel.curves.values() for x, _ in points})
        place.set_xscale("log", base=2)
        place.set_xticks(ticks, [f"{x:g}" for x in ticks])
        place.minorticks_off()
    if panel.share:
        place.set_ylim(-0.03, 1.03)
    place.axvline(panel.trained, color="gray", linestyle="--", linewidth=1, label="trained length")
    place.set_xlabel(panel.across)
    place.set_ylabel(panel.up)
    place.grid(alpha=0.3)
    outside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(panel.curves) > FEW else {"loc": "best"}
    place.legend(**outside, fontsize="small")
