"""One file a form in which a model leaves: what is written, who opens it, and how it is compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.registry import Registry
from ...nn.model import Model
from ..consumers import Consumer

if TYPE_CHECKING:
    from ...tokenize import Tokenizer


class Export(ABC):
    """A form of export. ``suffix`` is that of its file, "" for a folder."""

    suffix: str = ""

    @abstractmethod
    def write(self, model: Model, tokenizer: Tokenizer, out: Path, *, overwrite: bool) -> None:
        """Whole or not at all; raises ConfigError with the reason if the model cannot have this form."""

    @abstractmethod
    def reopened(self, out: Path) -> tuple[Model, Tokenizer]:
        """What was written, opened by danlu with the numbers that its consumer has."""

    @abstractmethod
    def consumer(self, out: Path, model: Model) -> Consumer:
        """Who opens what was written; raises MissingExtra or DanluError with how to install it."""

    @abstractmethod
    def tolerance(self) -> float:
        """How far laws may be apart by rounding alone: a share of the spread of log-probabilities."""

    def also(self, out: Path, tokenizer: Tokenizer) -> list[str]:
        """Further checks of what was written: a sentence each."""
        return []


EXPORTS: Registry[type[Export]] = Registry("export", Export, __name__)
