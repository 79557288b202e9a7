"""Calls between tags, as the Hermes and Qwen families write them."""

from __future__ import annotations

from . import CALL_FORMS, CallForm


@CALL_FORMS.add("hermes")
class Hermes(CallForm):
    """An object with a name and arguments between ``<tool_call>`` and ``</tool_call>``, one pair of tags a call.

    Text, then ``<tool_call>\\n{"name": NAME, "arguments": {…}}\\n</tool_call>``, several on lines of their own.
    Source: Teknium et al. 2024, arXiv:2408.11857 (Hermes 3).
    Truth:  tests/truth/test_tool_calls.py (published answers cut in every way; 200 answers of a random model).
    """

    begin, end, between, key = "<tool_call>\n", "\n</tool_call>", "\n", "arguments"

    def free(self) -> list[str]:
        mark = self.begin.strip()
        found = f"found: TEXT {self.mark(mark)}" if mark in self.special else f"found[lazy]: TEXT {self.mark(mark)}"
        return [found, "text: TEXT", r"TEXT: /(.|\n)*/"]
