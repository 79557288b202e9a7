"""The picture of a life: loss curves on the left, accuracy before and after (or bits a byte) on the right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import atomic
from ..jsonl import read_rows

if TYPE_CHECKING:
    from ..folder import LifeFolder

COLORS = ("#b9c0cc", "#b4451f", "#20639b", "#3a7d44")

Exam = tuple[str, dict[str, float]]


def draw(life: LifeFolder, records: dict[str, dict[str, Any]], path: Path) -> bool:
    """Writes the PNG from what the stages left; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    curves = {name: _curve(life.of(name)) for name in records if (life.of(name) / "metrics.jsonl").is_file()}
    shown = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(shown)
    left, right = shown.subplots(1, 2, width_ratios=[3, 2])
    _draw_curves(left, curves)
    _draw_bars(right, bars_of(records))
    with atomic(path) as draft:
        shown.savefig(draft, format="png", metadata={"Software": "danlu"})
    return True


def bars_of(records: dict[str, dict[str, Any]]) -> list[Exam]:
    """(exam, shares by language) of every exam, in order; or bits a byte of each program where there was no exam."""
    figures = {name: record["figures"] for name, record in records.items()}
    exams = [(name, found["languages"]) for name, found in figures.items() if "languages" in found]
    texts = [(f["model"]["bits_per_byte"], f["others"]) for f in figures.values() if "others" in f]
    return exams or [
        (n, {"bits a byte": b}) for own, others in texts for n, b in [("this model", own), *others.items()]
    ]


def _curve(folder: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    rows = list(read_rows(folder / "metrics.jsonl"))
    trained = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    return trained, [(row["step"], row["held_out_loss"]) for row in rows if "held_out_loss" in row]


def _draw_curves(axes: Any, curves: dict[str, Any]) -> None:
    begin = 0
    for number, (name, (trained, held)) in enumerate(curves.items()):
        color = COLORS[1 + number % 3]
        axes.plot(
            [begin + s for s, _ in trained], [loss for _, loss in trained], color=color, lw=0.7, alpha=0.8, label=name
        )
        if held:
            axes.plot(
                [begin + s for s, _ in held],
                [loss for _, loss in held],
                "--",
                color=color,
                lw=1.5,
                label=f"{name}, held out",
            )
        begin += trained[-1][0] if trained else 0
    axes.set(xlabel="step", ylabel="loss, nats a token", title="From text to a talking model")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bars(axes: Any, exams: list[Exam]) -> None:
    names = list(dict.fromkeys(name for _, shares in exams for name in shares))
    percent = all(0 <= share <= 1 for _, shares in exams for share in shares.values())
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        places = [n + (number - (len(names) - 1) / 2) * width for n in range(len(exams))]
        heights = [shares.get(name, 0.0) for _, shares in exams]
        drawn = axes.bar(places, heights, width * 0.92, color=COLORS[1 + number % 3], label=name)
        axes.bar_label(drawn, [f"{h:.0%}" if percent else f"{h:.2f}" for h in heights], fontsize=8)
    axes.set_xticks(range(len(exams)), [name for name, _ in exams], fontsize=8)
    axes.set(title="People never asked about in training" if percent else "Held-out text, bits a byte")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
