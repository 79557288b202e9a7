"""The page stands alone, is well formed, and every figure on it is one that a stage measured."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from danlu.core.files import sha256
from danlu.life import Life
from danlu.life.report.chart import HEIGHT, WIDTH, bars, lines
from danlu.life.report.page import conversation, table
from danlu.life.report.picture import bars_of, draw

VOID = {"meta", "br", "img", "line", "rect", "polyline", "link"}


class Reader(HTMLParser):
    """Open tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for name, v in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(lived: Life) -> Reader:
    reader = Reader()
    assert lived.report is not None
    reader.feed(lived.report.read_text(encoding="utf-8"))
    return reader


def test_the_page_is_closed_and_loads_nothing(page: Reader, lived: Life) -> None:
    assert page.open == []
    assert all(address.startswith("data:") for address in page.addresses)
    text = (lived.folder / "report.html").read_text(encoding="utf-8")
    loads = re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+|@import|url\(|<script", text)
    assert loads == []


def test_every_stage_has_its_section_with_its_figures(page: Reader, lived: Life) -> None:
    text = " ".join(page.texts)
    for name in lived.records:
        assert name == "report" or name in text
    report = lived.figures("pretrain")["report"]
    for figure in (
        f"{report['parameters']:,}",
        f"{report['this_process']['peak_bytes'] / 2**20:,.0f} MiB",
        "planned · 预测",
    ):
        assert figure in text
    for kind in lived.figures("after")["kinds"]:
        assert kind["name"] in text
    assert f"{lived.figures('tokenizer')['tokens_per_character']['zh']['ratio']:.3f}" in text
    assert f"danlu chat {lived.folder}/sft/final" in text


def test_figures_are_the_markers(lived: Life) -> None:
    """Not a copy: what the page shows is what the stage's file says."""
    marker = json.loads((lived.folder / "stages" / "sft.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (lived.folder / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert marker["figures"]["report"]["loss"]["last"] == metrics[-1]["loss"]
    assert marker["figures"]["plan"]["parameters"]["total"] == marker["figures"]["report"]["parameters"]


def test_the_picture_is_the_same_every_time(lived: Life, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from danlu.life.folder import LifeFolder

    folder = LifeFolder(lived.folder, None, {}, quiet=True)  # type: ignore[arg-type]
    digests = set()
    for number in range(2):
        assert draw(folder, lived.records, tmp_path / f"{number}.png")
        digests.add(sha256(tmp_path / f"{number}.png"))
    assert len(digests) == 1


def test_bars_show_exams_or_bits() -> None:
    exam = {"before": {"figures": {"groups": {"en": 0.5}}}, "x": {"figures": {"vocab": 3}}}
    assert bars_of(exam) == [("before", {"en": 0.5})]
    held = {"held_out": {"figures": {"model": {"bits_per_byte": 2.0}, "others": {"gzip": 3.0}}}}
    assert bars_of(held) == [("this model", {"bits a byte": 2.0}), ("gzip", {"bits a byte": 3.0})]


def test_lines_stay_inside_the_frame_and_keep_their_order() -> None:
    svg = lines([("a", [(0, 8.0), (50, 2.0), (100, 0.5)]), ("none", [])], across="step", up="loss")
    (points,) = re.findall(r'points="([^"]+)"', svg)
    places = [tuple(map(float, p.split(","))) for p in points.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places), "falling loss goes down the page"
    assert lines([("none", [])], across="x", up="y") == ""
    assert "nan" not in lines([("one", [(3, 1.0)])], across="x", up="y")


def test_bars_are_as_long_as_their_shares() -> None:
    svg = bars([("en", [0.25, 0.5]), ("zh", [None, 1.0])], ["before", "after"])
    widths = [float(w) for w in re.findall(r'y="\d+" width="([\d.]+)" height="10"', svg)]
    assert len(widths) == 3
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert widths[2] == pytest.approx(4 * widths[0], abs=0.4)


def test_what_came_from_files_is_escaped() -> None:
    hostile = "<script>alert('x')</script>"
    assert "<script" not in table([hostile], [[hostile]]) + conversation([{"role": hostile, "content": hostile}])
