"""How files become rows: one file a suffix, streamed in constant memory, each row with its line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ...core.registry import Registry
from ..opening import Opened

ROW_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row as JSON in UTF-8; a long text comes as several, ``first`` and ``last`` mark the ends of its document."""

    line: int
    raw: bytes
    first: bool = True
    last: bool = True


class Reader(ABC):
    """Reads one kind of file as rows. Registered under its suffix."""

    sample: ClassVar[bytes]  # a file of this kind with two rows, for the contract battery and for error messages

    @abstractmethod
    def rows(self, file: Opened) -> Iterator[Row]:
        """The rows in order; raises DataError with file and line for what cannot be read."""


READERS: Registry[type[Reader]] = Registry("reader", Reader, __name__)
