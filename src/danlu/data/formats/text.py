"""Running text."""

from __future__ import annotations

from typing import Any

from ..documents import Document, Place, Text
from . import FORMATS, Format


@FORMATS.add("text")
class PlainText(Format):
    """``{"text": …}``, or a row that is text itself: every token is trained.

    A list of paragraphs is joined by line ends.

    Source: the column every public pretraining corpus uses (C4, Raffel et al. 2020, arXiv:1910.10683, §2.2).
    Truth:  tests/truth/test_data_formats.py.
    """

    needs = ("text",)
    example = {"text": "Once upon a time."}

    def fits(self, row: Any) -> bool:
        return isinstance(row, str) or super().fits(row)

    def document(self, row: Any, place: Place) -> Document:
        if isinstance(row, str):
            return Text(row, place)
        value = self.value(row, "text", place)
        if isinstance(value, list) and all(isinstance(paragraph, str) for paragraph in value):
            return Text("\n".join(value), place)
        return Text(self.text(row, "text", place), place)
