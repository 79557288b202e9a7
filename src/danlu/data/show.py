"""Inspections and reports as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .inspection import Inspection, Shown

COUNTED, READ, PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"
BAR = 40


def inspection_lines(found: Inspection, *, color: bool) -> Iterator[str]:
    """The sample rows, then counts, lengths and cuts."""
    yield "rows as the model reads them; " + (
        f"{COUNTED}counted by the loss{PLAIN}, {READ}only read{PLAIN}" if color else "⟦counted by the loss⟧, only read"
    )
    for shown in found.shown:
        yield f"── {shown.place}"
        yield told(shown, color=color)
    yield ""
    yield from _counts(found)
    yield ""
    marks = {"5%": 0.05, "half": 0.5, "95%": 0.95, "longest": 1.0}
    yield "lengths in tokens: " + ", ".join(f"{name} {found.percentile(share)}" for name, share in marks.items())
    yield f"a row of {found.length} holds a document of {found.length + 1}"
    most = max((count for _, _, count in found.histogram()), default=1)
    for first, last, count in found.histogram():
        yield f"  {first:>6}–{last:<6} {'█' * -(-BAR * count // most):<{BAR}} {count:,}"
    yield ""
    yield from cut_lines(found.cut.reasons, found.rows)


def told(shown: Shown, *, color: bool) -> str:
    """One row, neighbors of equal weight joined; weights other than 0 and 1 are written out."""
    runs: list[tuple[str, float]] = []
    for text, weight in shown.pieces:
        if runs and runs[-1][1] == weight:
            runs[-1] = (runs[-1][0] + text, weight)
        else:
            runs.append((text, weight))
    return "".join(_run(text, weight, color) for text, weight in runs)


def cut_lines(reasons: dict[str, dict[str, Any]], rows: int) -> Iterator[str]:
    """Every kind of cut with its count, share and first places."""
    if not reasons:
        yield "nothing was cut or dropped"
    for reason, facts in reasons.items():
        share = min(100.0, 100 * facts["rows"] / max(1, rows))
        yield f"{reason}: {facts['rows']:,} rows ({share:.1f} %), {facts['tokens']:,} tokens, the first at"
        yield "  " + ", ".join(facts["examples"])


def report_lines(report: dict[str, Any]) -> Iterator[str]:
    """What ``build`` did, source by source."""
    for source in [*report["sources"], *report["held_out_sources"]]:
        tokens, documents = source["tokens"], source["documents"]
        made = "found in" if source["cached"] else "made in"
        yield f"{source['from']}: {source['rows']:,} rows of {source['files']} file(s), {', '.join(source['formats'])}"
        yield f"  train {documents['train']:,} documents, {tokens['train']:,} tokens, " + (
            f"{source['supervised']['train']:,} counted by the loss; held out {documents['held_out']:,} documents, "
            f"{tokens['held_out']:,} tokens"
        )
        yield f"  {made} {source['store']}"
        if source["skipped"]:
            yield f"  passed over, no known suffix: {', '.join(source['skipped'][:5])}"
        yield from (f"  {line}" for line in cut_lines(source["cut"], source["rows"]))
    for side in ("train", "held_out"):
        facts = report[side]
        yield f"{side}: {facts['rows']:,} rows of {facts['length']}, {100 * facts['fill']:.1f} % filled"
    yield f"{report['seconds']:.1f} seconds"


def _counts(found: Inspection) -> Iterator[str]:
    more = "" if found.whole else " (there are more; see --rows)"
    yield f"{found.source}: {found.rows:,} rows of {len(found.files)} file(s){more}"
    share = 100 * found.supervised / max(1, found.tokens)
    yield f"{found.tokens:,} tokens, {found.supervised:,} of them counted by the loss ({share:.1f} %)"
    if found.characters:
        yield f"{found.tokens / found.characters:.3f} tokens a character"


def _run(text: str, weight: float, color: bool) -> str:
    mark = "" if weight in (0, 1) else f"×{weight:g} "
    if color:
        return f"{COUNTED if weight else READ}{mark}{text}{PLAIN}"
    return f"⟦{mark}{text}⟧" if weight else text
