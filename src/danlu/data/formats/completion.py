"""A prompt and its completion."""

from __future__ import annotations

from typing import Any

from ..documents import Conversation, Document, Place
from ..turns import exchange
from . import FORMATS, Format
from .messages import messages_of


@FORMATS.add("completion")
class Completion(Format):
    """``{"prompt", "completion"}``, both text (one question, one answer) or both lists of messages that are joined.

    Only the completion is trained: assistant messages of a prompt get weight 0.
    Source: https://huggingface.co/docs/trl/dataset_formats (prompt-completion).
    Truth:  tests/truth/test_data_formats.py.
    """

    needs = ("prompt", "completion")
    takes = ("system",)
    example = {"prompt": "The sky is", "completion": "blue."}
    rank = 3

    def document(self, row: Any, place: Place) -> Document:
        prompt, completion = (self.value(row, name, place) for name in self.needs)
        if isinstance(prompt, str) and isinstance(completion, str):
            return exchange(prompt, completion, place, system=self.text(row, "system", place))
        if not isinstance(prompt, list) or not isinstance(completion, list):
            raise place.error("prompt and completion must be both text or both lists of messages")
        asked = [m if m["role"] != "assistant" else {**m, "weight": 0.0} for m in messages_of(prompt, place)]
        return Conversation([*asked, *messages_of(completion, place)], place)
