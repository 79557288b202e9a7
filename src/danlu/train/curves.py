"""A run in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.files import atomic

PANELS = (("loss", "held_out_loss"), ("lr",), ("norm",), ("tokens_per_s",))
NAMES = {
    "loss": "loss (nats/token)",
    "held_out_loss": "held-out loss",
    "lr": "learning rate",
    "norm": "gradient norm",
    "tokens_per_s": "tokens/s",
}


def draw(lines: list[dict[str, Any]], path: Path) -> bool:
    """Writes a PNG of loss, held-out loss, learning rate, gradient norm and speed; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for place, keys in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
            if points:
                place.plot(
                    *zip(*points, strict=True), label=NAMES[key], marker="o" if key == "held_out_loss" else "", ms=3
                )
        place.set_xlabel("step")
        place.grid(alpha=0.3)
        if place.lines:
            place.legend(loc="best")
    with atomic(path) as draft:
        figure.savefig(draft, dpi=110, format="png")
    return True
