"""JSON: an array of rows, one row, or JSON lines under the wrong name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ...core.errors import DataError
from ..opening import Opened, texts
from . import READERS, ROW_LIMIT, Reader, Row

SPACE = re.compile(r"\s*")
MARGIN = 16  # characters before the end within which an error may only mean "more to come"


@READERS.add("json")
class Json(Reader):
    """An array read value by value, never as a whole; values side by side are taken as JSON lines.

    Raises: DataError with the line of what is broken.
    Source: RFC 8259, "The JavaScript Object Notation (JSON) Data Interchange Format".
    Truth:  tests/truth/test_data_readers.py (equal to json.load on files cut at every block size).
    """

    sample = b'[{"text": "one"},\n {"text": "two"}]'

    def rows(self, file: Opened) -> Iterator[Row]:
        scanner = _Scanner(file)
        if not scanner.peek():
            return
        array = scanner.peek() == "["
        if array:
            scanner.take("[")
            if scanner.peek() == "]":
                return
        while True:
            scanner.peek()
            line = scanner.line
            yield Row(line, scanner.value().encode("utf-8", "surrogatepass"))
            if not array and not scanner.peek():
                return
            if array and scanner.peek() == "]":
                break
            if array:
                scanner.take(",")
        scanner.take("]")
        if scanner.peek():
            raise scanner.error("more text after the end of the array; a file holds one array or one row a line")


class _Scanner:
    """A window on the text that grows until it holds the next value."""

    def __init__(self, file: Opened) -> None:
        self.file, self.blocks, self.decoder = file, texts(file), json.JSONDecoder()
        self.text, self.place, self.line, self.ended = "", 0, 1, False

    def peek(self) -> str:
        """The next character that is not space, or nothing at the end."""
        while True:
            self._go(SPACE.match(self.text, self.place).end())  # type: ignore[union-attr]
            if self.place < len(self.text):
                return self.text[self.place]
            if not self._more(1):
                return ""

    def take(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise self.error(f"broken JSON: expected {character!r}, found {found or 'the end of the file'!r}")
        self._go(self.place + 1)

    def value(self) -> str:
        """The text of the next value."""
        self.peek()
        while True:
            try:
                _, end = self.decoder.raw_decode(self.text, self.place)
                if end < len(self.text) or not self._more(1):
                    break
            except json.JSONDecodeError as error:
                if not self._unfinished(error) or not self._more(len(self.text) - self.place):
                    self._go(min(error.pos, len(self.text)))
                    raise self.error(f"broken JSON ({error.msg}); repair the row") from None
            except RecursionError:
                raise self.error("broken JSON (nested too deep); repair the row") from None
        found = self.text[self.place : end]
        self._go(end)
        return found

    def error(self, sentence: str) -> DataError:
        return DataError(sentence, file=self.file.path, line=self.line)

    def _go(self, place: int) -> None:
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def _more(self, least: int) -> bool:
        """Reads at least that many characters more, so that a long value is tried only a few times."""
        if len(self.text) - self.place > ROW_LIMIT:
            raise self.error(f"a value above {ROW_LIMIT >> 20} MiB; cut it into several rows")
        fresh, size = [self.text[self.place :]], 0
        while size < least and (block := next(self.blocks, "")):
            fresh.append(block)
            size += len(block)
        self.text, self.place = "".join(fresh), 0
        return size > 0

    def _unfinished(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - MARGIN
