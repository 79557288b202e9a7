"""A vocabulary learned from the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ... import tokenize
from ...core.files import seal
from ...data import Text, read_documents
from ...tokenize.training import train
from ..folder import LifeFolder
from ..report.page import paragraph, table
from . import STAGES, Figures, Stage

SAMPLE = 2000  # documents a file that the lengths are measured on
CHINESE = range(0x4E00, 0xA000)


@STAGES.add("tokenizer")
class TokenizerStage(Stage):
    """Learns a vocabulary of at most ``vocab`` pieces from ``files`` and measures it on ``measure``.

    tokens per character = Σ tokens / Σ characters, over the documents of each language apart: Chinese is what has more
    Chinese characters than half of its letters.

    Source: tokenize.train's kinds name theirs.
    Truth:  tests/life/test_life_stages.py (the ratio counted by hand; the saved tokenizer is the trained one).
    """

    title = ("Learn a vocabulary", "训练分词器")

    def __init__(
        self,
        *,
        files: list[str],
        vocab: int = 2048,
        kind: str | dict[str, Any] = "byte_bpe",
        measure: list[str] | None = None,
    ) -> None:
        self.files, self.vocab, self.kind, self.measure = files, vocab, kind, measure or files

    def reads(self, life: LifeFolder) -> list[str]:
        return [*self.files, *self.measure]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        tokenizer = train([life.place(file) for file in self.files], self.kind, vocab=self.vocab)
        tokenizer.save(folder)
        seal(folder)
        return {
            "vocab": tokenizer.vocab_size,
            "kind": self.kind if isinstance(self.kind, str) else self.kind["use"],
            "tokens_per_character": self._ratios(life, tokenizer),
        }

    def _ratios(self, life: LifeFolder, tokenizer: tokenize.Tokenizer) -> dict[str, dict[str, float]]:
        tokens, characters = {"en": 0, "zh": 0}, {"en": 0, "zh": 0}
        for file in self.measure:
            texts = list(islice(_texts(life.place(file)), SAMPLE))
            for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
                language = language_of(text)
                tokens[language] += len(ids)
                characters[language] += len(text)
        found = {name: {"tokens": tokens[name], "characters": characters[name]} for name in tokens if characters[name]}
        return {name: {**counts, "ratio": counts["tokens"] / counts["characters"]} for name, counts in found.items()}

    def line(self, figures: Figures) -> str:
        ratios = figures["tokens_per_character"]
        return f"{figures['vocab']:,} pieces; tokens a character: " + ", ".join(
            f"{name} {found['ratio']:.3f}" for name, found in ratios.items()
        )

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = [
            [name, f"{f['characters']:,}", f"{f['tokens']:,}", f"{f['ratio']:.3f}"]
            for name, f in figures["tokens_per_character"].items()
        ]
        said = paragraph(
            f"{figures['kind']}, {figures['vocab']:,} pieces, learned from {', '.join(self.files)}.",
            f"{figures['kind']}，词表 {figures['vocab']:,}。",
        )
        head = ["language · 语言", "characters · 字符", "tokens · 词元", "tokens per character · 每字符词元"]
        return said + table(head, rows)


def language_of(text: str) -> str:
    """zh if more than half of the letters are Chinese characters."""
    letters = [c for c in text if c.isalpha()]
    return "zh" if 2 * sum(ord(c) in CHINESE for c in letters) > len(letters) else "en"


def _texts(path: Path) -> Iterator[str]:
    for document in read_documents(str(path)):
        if isinstance(document, Text):
            yield document.text
        else:
            yield from (str(message["content"]) for message in document.messages)
