"""Benchmarks as data: one YAML file a task says how its questions become prompts, in every known wording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...core import config
from ...core.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Form:
    """One wording of a prompt, character by character: header, then per item question, options, ask [gap answer end].

    ``{subject}`` stands in the header, ``{question}`` in the question, ``{letter}`` and ``{text}`` in an option.
    ``strip`` takes the white space off both ends of the question.
    """

    header: str
    question: str = "{question}"
    option: str = "\n{letter}. {text}"
    ask: str
    gap: str
    end: str = "\n\n"
    strip: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """A multiple-choice benchmark: its wordings, how many shots, which shot is dropped first, its subjects' names."""

    line: str
    source: str
    shots: int = 5
    crop: Literal["last", "longest"] = "last"
    letters: str = "ABCDEFGHIJ"
    forms: dict[str, Form]
    subjects: dict[str, str] = field(default_factory=dict)

    def form(self, name: str) -> Form:
        if name not in self.forms:
            raise unknown("form", name, list(self.forms))
        return self.forms[name]

    def subject(self, key: str) -> str:
        """What the header calls a subject; unknown ones are their own names with spaces for underscores."""
        return self.subjects.get(key, key.replace("_", " "))


class _Tasks:
    """The tasks of this folder, by the name of their file."""

    folder = Path(__file__).parent

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(file.stem for file in self.folder.glob("*.yaml")))

    def __getitem__(self, name: str) -> Task:
        if name not in set(self):
            raise unknown("task", name, list(self))
        return config.load(Task, self.folder / f"{name}.yaml")


TASKS = _Tasks()


def open_task(name: str | Path) -> Task:
    """A task by its name, or from a YAML file of your own; raises ConfigError if it is neither."""
    return config.load(Task, name) if str(name).endswith((".yaml", ".yml")) else TASKS[str(name)]
