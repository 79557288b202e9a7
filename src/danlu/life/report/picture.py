"""The picture of a life: loss curves on the left, right answers before and after (or bits a byte) on the right."""

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
    exams = bars_of(records)
    left, *right = shown.subplots(1, 2 if exams else 1, squeeze=False, width_ratios=[3, 2] if exams else None)[0]
    _draw_curves(left, curves)
    for axes in right:
        _draw_bars(axes, exams)
    with atomic(path) as draft:
        shown.savefig(draft, format="png", metadata={"Software": "danlu"})
    return True


def bars_of(records: dict[str, dict[str, Any]]) -> list[Exam]:
    """(exam, shares by kind and language) of every exam; or bits a byte of each program where there was no exam."""
    figures = {name: record["figures"] for name, record in records.items()}
    exams = [(name, found["groups"]) for name, found in figures.items() if "groups" in found]
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
    """Labels down, a bar an exam; one exam with values of its own scale is drawn as it is."""
    labels = list(dict.fromkeys(name for _, shares in exams for name in shares))
    percent = all(0 <= share <= 1 for _, shares in exams for share in shares.values())
    if not percent:
        labels, exams = (
            [name for name, _ in exams],
            [("bits a byte", {name: next(iter(s.values())) for name, s in exams})],
        )
    width = 0.8 / max(1, len(exams))
    for number, (name, shares) in enumerate(exams):
        places = [n + (number - (len(exams) - 1) / 2) * width for n in range(len(labels))]
        lengths = [shares.get(label, 0.0) for label in labels]
        drawn = axes.barh(places, lengths, width * 0.92, color=COLORS[number % 2 if len(exams) > 1 else 1], label=name)
        axes.bar_label(drawn, [f"{h:.0%}" if percent else f"{h:.2f}" for h in lengths], fontsize=7, padding=2)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set(title="Right answers, never trained" if percent else "Held-out text, bits a byte")
    axes.set_xlim(right=1.12 if percent else None)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
