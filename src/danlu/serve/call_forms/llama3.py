"""Calls as bare JSON, as Llama 3.1 and 3.2 write them."""

from __future__ import annotations

from . import CALL_FORMS, CallForm


@CALL_FORMS.add("llama3")
class Llama3(CallForm):
    """The whole answer is an object with a name and parameters, or several with semicolons between them.

    ``{"name": NAME, "parameters": {…}}; {"name": …}``; an answer that does not begin with a brace is text.
    Source: Llama team 2024, arXiv:2407.21783, §4.3.5.
    Truth:  tests/truth/test_tool_calls.py (published answers cut in every way; 200 answers of a random model).
    """

    begin, end, between, key = "", "", "; ", "parameters"

    def free(self) -> list[str]:
        return ['found: ""', r"text: /[^{\s;,](.|\n)*/"]
