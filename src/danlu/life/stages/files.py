"""The user's own corpus: text and, if given, instruction files, with the last part of each held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...core import config
from ...core.errors import ConfigError, DataError
from ...data import Conversation, Source, Text, read_documents
from ..folder import LifeFolder
from ..jsonl import write_rows
from ..report.page import paragraph, table
from . import STAGES, Figures, Stage

PASSAGE = 2000  # characters of running text that become one document

Row = dict[str, Any]


@STAGES.add("files")
class FilesStage(Stage):
    """Reads text and instruction files of any known format and writes them as rows, the last share of each held out.

    Text becomes passages of some thousand characters cut at line ends (text.jsonl, held_out.jsonl); conversations
    become messages (instructions.jsonl, instructions_held_out.jsonl). Splitting by place and not by chance keeps
    neighboring sentences on one side.

    Raises: ConfigError if neither text nor instructions are named; DataError for what cannot be read, with the line.
    Source: the split by position is nanoGPT's for Shakespeare; written for danlu.
    Truth:  tests/life/test_life_stages.py (sides rejoined give the files; no passage on both).
    """

    title = ("Your own text and instructions", "你自己的文本与指令")

    def __init__(
        self,
        *,
        text: list[str | dict[str, Any]] | None = None,
        instructions: list[str | dict[str, Any]] | None = None,
        held_out: float = 0.05,
    ) -> None:
        self.text, self.instructions = _sources(text), _sources(instructions)
        if not self.text:
            raise ConfigError("corpus.text is empty; name at least one file or folder of text")
        if not 0 < held_out < 1:
            raise ConfigError(f"corpus.held_out must lie in (0, 1), found {held_out}")
        self.held_out = held_out

    def reads(self, life: LifeFolder) -> list[str]:
        return [s.from_ for s in (*self.text, *self.instructions) if not s.from_.startswith("hf://")]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        text = self._split(self.text, folder, "text.jsonl", "held_out.jsonl", _passages)
        talk = self._split(
            self.instructions, folder, "instructions.jsonl", "instructions_held_out.jsonl", _conversations
        )
        return {"text": text, "instructions": talk}

    def _split(self, sources: list[Source], folder: Path, kept: str, apart: str, rows_of: Any) -> list[Row]:
        """Writes both sides; one pass to count, one to write, so that no source is held in memory."""
        found: list[Row] = []
        edges: list[int] = []
        for source in sources:
            total = sum(_size(row) for row in rows_of(source))
            if not total:
                raise DataError("holds nothing to train on; strike it from the sources", file=source.from_)
            edges.append(round(total * (1 - self.held_out)))
            found.append({"from": source.from_, "bytes": total})
        for name, below in ((kept, True), (apart, False)):
            pairs = zip(sources, edges, strict=True)
            count = write_rows(folder / name, (row for pair in pairs for row in _side(rows_of, *pair, below=below)))
            if sources and not count:
                raise DataError("is too short to hold a part of it out; give more", file=sources[0].from_)
        return found

    def line(self, figures: Figures) -> str:
        text, talk = figures["text"], figures["instructions"]
        line = f"{sum(s['bytes'] for s in text):,} bytes of text in {len(text)} sources"
        return line + (f", {sum(s['bytes'] for s in talk):,} bytes of instructions in {len(talk)}" if talk else "")

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = [[kind, s["from"], f"{s['bytes']:,}"] for kind in ("text", "instructions") for s in figures[kind]]
        said = paragraph(
            f"The last {self.held_out:.0%} of each source is held out: it is measured on and never trained.",
            f"每个来源最后的 {self.held_out:.0%} 留作测试，从不参与训练。",
        )
        return said + table(["kind · 种类", "source · 来源", "bytes · 字节"], rows)


def _sources(named: list[str | dict[str, Any]] | None) -> list[Source]:
    return [Source(from_=one) if isinstance(one, str) else config.read(Source, one, "corpus") for one in named or []]


def _passages(source: Source) -> Iterator[Row]:
    """Running text in passages, cut at line ends; rows that are short stay whole."""
    for document in read_documents(source):
        if not isinstance(document, Text):
            raise document.place.error("is a conversation, not text; give it under instructions")
        yield from ({"text": part} for part in _cut(document.text) if part.strip())


def _cut(text: str) -> Iterable[str]:
    while len(text) > PASSAGE:
        edge = text.rfind("\n", PASSAGE // 2, PASSAGE) + 1 or PASSAGE
        yield text[:edge]
        text = text[edge:]
    if text:
        yield text


def _conversations(source: Source) -> Iterator[Row]:
    for document in read_documents(source):
        if not isinstance(document, Conversation):
            raise document.place.error("is text, not a conversation; give it under text")
        yield {"messages": document.messages, **({"tools": document.tools} if document.tools else {})}


def _side(rows_of: Any, source: Source, edge: int, *, below: bool) -> Iterator[Row]:
    """The rows of the source that end before byte ``edge``, or those that do not."""
    place = 0
    for row in rows_of(source):
        place += _size(row)
        if (place <= edge) is below:
            yield row


def _size(row: Row) -> int:
    if "text" in row:
        return len(row["text"].encode())
    return sum(len(message["content"].encode()) for message in row["messages"])
