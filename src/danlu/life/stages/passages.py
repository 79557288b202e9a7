"""Text that forces a model to look far back: copies of noise and values asked for by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import ConfigError
from ...evaluate.passages import LETTERS, MARK, PAIRS, SHORTEST, Passages
from ..folder import LifeFolder
from ..jsonl import write_rows
from ..report.page import paragraph
from . import STAGES, Figures, Stage


@STAGES.add("passages")
class PassagesStage(Stage):
    """Writes ``count`` passages of at most ``longest`` symbols: three copies of noise, then one of pairs, in turn.

    x_1 … x_n | x_1 … x_n, and key value noise … | key value …; a symbol is a character.
    Raises: ConfigError if the passages would have no room for their pairs.
    Source: evaluate.passages.
    Truth:  tests/life/test_life_extrapolation.py (every passage read back); tests/truth/test_recall.py.
    """

    title = ("Passages that must be looked back into", "必须回看的文本")

    def __init__(self, *, count: int = 40_000, longest: int = 63) -> None:
        needed = 1 + 2 * PAIRS + SHORTEST
        if count < 1 or longest < needed:
            raise ConfigError(
                f"passages: count is at least 1 and longest at least {needed}, found {count} and {longest}"
            )
        self.count, self.longest = count, longest

    def reads(self, life: LifeFolder) -> list[str]:
        return []

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        drawn = Passages(LETTERS, MARK, seed=life.seed)
        texts = ["".join(passage) for passage in drawn.training(self.count, self.longest)]
        write_rows(folder / "passages.jsonl", ({"text": text} for text in texts))
        return {"passages": len(texts), "symbols": sum(map(len, texts)), "examples": [texts[0], texts[3]]}

    def line(self, figures: Figures) -> str:
        return f"{figures['passages']:,} passages of up to {self.longest} symbols, {figures['symbols']:,} in all"

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        said = paragraph(self.line(figures) + ".", "")
        examples: Any = (paragraph(text, "") for text in figures["examples"])
        return said + "".join(examples)
