"""Every registered part of the package, read from its docstring: for ``danlu parts`` and the house tests."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from typing import Any

from .errors import unknown
from .registry import Registry
from .spec import settings_of

SECTION = re.compile(r"^\s*(Raises|Source|Truth):\s*(.*)$")


@dataclass(frozen=True)
class Part:
    """One registered part: its name, first docstring line, sections and settings."""

    kind: str
    name: str
    line: str
    sections: dict[str, str]
    settings: tuple[str, ...]

    @property
    def source(self) -> str:
        return self.sections.get("Source", "")


def catalog(kind: str | None = None) -> dict[str, list[Part]]:
    """The parts by kind; raises ConfigError if there is no such kind."""
    kinds = registries()
    if kind is not None and kind not in kinds:
        raise unknown("kind of part", kind, list(kinds))
    chosen = sorted(kinds) if kind is None else [kind]
    return {name: [_describe(name, part, kinds[name][part]) for part in kinds[name]] for name in chosen}


def registries() -> dict[str, Registry[Any]]:
    """Every registry of the package, after importing all its folders (the verbs aside)."""
    root = importlib.import_module(__name__.split(".")[0])
    for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        if module.ispkg:
            importlib.import_module(module.name)
    return dict(Registry.by_kind)


def _describe(kind: str, name: str, part: Any) -> Part:
    text = inspect.getdoc(part) or ""
    return Part(kind, name, text.split("\n", 1)[0], sections(text), tuple(settings_of(part)))


def sections(text: str) -> dict[str, str]:
    """The ``Source:``, ``Truth:`` and ``Raises:`` lines of a docstring, continuation lines joined."""
    found: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        if match := SECTION.match(line):
            current = match[1]
            found[current] = match[2].strip()
        elif current and line.strip():
            found[current] += " " + line.strip()
        else:
            current = None
    return found
