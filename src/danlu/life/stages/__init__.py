"""The stages of a life: one file a kind, each reading files, calling one room and leaving files and figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...core.registry import Registry

if TYPE_CHECKING:
    from ..folder import LifeFolder

Figures = dict[str, Any]


class Stage(ABC):
    """Something that is done once: from what ``reads`` names to files in a folder of its own and figures about them.

    A stage killed half-way is begun again in the same folder; what lies there is its own and of the same inputs.
    """

    title: ClassVar[tuple[str, str]]
    """What it does, in English and in Chinese."""

    @abstractmethod
    def reads(self, life: LifeFolder) -> list[str]:
        """Paths it depends on: of earlier stages (``corpus/exam.jsonl``, ``pretrain``) or of the user."""

    @abstractmethod
    def run(self, life: LifeFolder, folder: Path) -> Figures:
        """Does it; the figures are JSON and are all the report will know beside the files."""

    @abstractmethod
    def line(self, figures: Figures) -> str:
        """The figures in a few words, for the screen."""

    @abstractmethod
    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        """The figures as a piece of HTML for the report."""


STAGES: Registry[type[Stage]] = Registry("stage", Stage, __name__)
