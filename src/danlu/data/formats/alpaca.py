"""Stanford Alpaca's instructions."""

from __future__ import annotations

from typing import Any

from ..documents import Document, Place
from ..turns import exchange
from . import FORMATS, Format


@FORMATS.add("alpaca")
class Alpaca(Format):
    """``instruction`` and, on the next line, ``input`` ask, ``output`` answers; ``system``, ``history`` if given.

    Source: Taori et al. 2023, https://github.com/tatsu-lab/stanford_alpaca; history and system as in LLaMA-Factory.
    Truth:  tests/truth/test_data_formats.py (hand-written rows; every row of the shared Alpaca files).
    """

    needs = ("instruction", "output")
    takes = ("input", "system", "history")
    example = {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}
    rank = 2

    def document(self, row: Any, place: Place) -> Document:
        parts = [self.text(row, "instruction", place), self.text(row, "input", place)]
        prompt = "\n".join(part for part in parts if part)
        answer, system = self.text(row, "output", place), self.text(row, "system", place)
        return exchange(prompt, answer, place, system=system, history=self.value(row, "history", place))
