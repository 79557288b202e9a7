"""A prompt, its response and what was said before."""

from __future__ import annotations

from typing import Any

from ..documents import Document, Place
from ..turns import exchange
from . import FORMATS, Format


@FORMATS.add("history")
class History(Format):
    """``{"prompt", "response", "history": [[question, answer], …]}``: older turns first, then the prompt's.

    Source: THUDM ChatGLM-6B, P-tuning's data format, https://github.com/THUDM/ChatGLM-6B/tree/main/ptuning.
    Truth:  tests/truth/test_data_formats.py.
    """

    needs = ("prompt", "response")
    takes = ("history", "system")
    example = {"prompt": "And Italy's?", "response": "Rome.", "history": [["The capital of France?", "Paris."]]}
    rank = 4

    def document(self, row: Any, place: Place) -> Document:
        prompt, answer = self.text(row, "prompt", place), self.text(row, "response", place)
        system, older = self.text(row, "system", place), self.value(row, "history", place)
        return exchange(prompt, answer, place, system=system, history=older)
