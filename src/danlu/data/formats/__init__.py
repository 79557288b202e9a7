"""What a row means: each format turns a row into a text or a conversation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

from ...core.errors import ConfigError
from ...core.registry import Registry
from ..documents import Document, Place


class Format(ABC):
    """Reads rows of one shape. ``columns`` maps its fields to the columns of the file where their names differ."""

    needs: ClassVar[tuple[str, ...]]  # fields without which a row is not of this format
    takes: ClassVar[tuple[str, ...]] = ()  # fields read where they are present
    tags: ClassVar[dict[str, str]] = {}  # keys and role names inside messages that a file may rename
    example: ClassVar[dict[str, Any]]
    rank: ClassVar[int] = 0  # among formats that fit a row, the highest is meant

    @final
    def __init__(self, *, columns: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> None:
        self.columns = _renamed({n: n for n in (*self.needs, *self.takes)}, columns, "columns", type(self))
        self.names = _renamed(dict(self.tags), tags, "tags", type(self))

    def fits(self, row: Any) -> bool:
        """Whether the row is of this format; the fields are judged, and by some formats their shape."""
        return isinstance(row, dict) and all(self.columns[name] in row for name in self.needs)

    @abstractmethod
    def document(self, row: Any, place: Place) -> Document:
        """The document; raises DataError with file and line if the row does not hold what the format needs."""

    @final
    def value(self, row: Any, field: str, place: Place) -> Any:
        """What the row holds in a field; nothing if an optional one is absent."""
        if not isinstance(row, dict):
            raise place.error(f"the row is {_kind(row)}, not an object with the columns {list(self._needed())}")
        if (column := self.columns[field]) in row:
            return row[column]
        if field in self.takes:
            return None
        raise place.error(f"the column {column!r} is missing; the row has {list(row)[:12]}")

    @final
    def text(self, row: Any, field: str, place: Place) -> str:
        """A field that must hold text; an optional one may be absent or null."""
        value = self.value(row, field, place)
        if value is None and field in self.takes:
            return ""
        if not isinstance(value, str):
            raise place.error(f"the column {self.columns[field]!r} holds {_kind(value)} where text is expected")
        return value

    def _needed(self) -> list[str]:
        return [self.columns[name] for name in self.needs]


FORMATS: Registry[type[Format]] = Registry("format", Format, __name__)


def _renamed(own: dict[str, str], given: dict[str, str] | None, what: str, kind: type[Format]) -> dict[str, str]:
    if extra := sorted(set(given or {}) - set(own)):
        has = f"it has {sorted(own)}" if own else "it has none"
        raise ConfigError(f"{what}: the format {FORMATS.name_of(kind)!r} has no {extra[0]!r}; {has}")
    return {**own, **(given or {})}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
