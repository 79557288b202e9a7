"""OpenAI's messages."""

from __future__ import annotations

import json
from typing import Any

from ..documents import Conversation, Document, Place
from ..turns import content_of, message, role_of, weight_of
from . import FORMATS, Format


@FORMATS.add("messages")
class Messages(Format):
    """``{"messages": [{"role", "content"}, …]}``; content is text or text parts, ``loss_weight`` may weigh it.

    A tool call without text is trained as its JSON; ``tools`` (a list, or JSON text) are the tools on offer.
    Source: https://platform.openai.com/docs/api-reference/chat/create (messages, tools).
    Truth:  tests/truth/test_data_formats.py (hand-written rows; every row of the shared v1_sft_demo.jsonl).
    """

    needs = ("messages",)
    takes = ("tools",)
    example = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
    rank = 6

    def fits(self, row: Any) -> bool:
        return super().fits(row) and is_messages(row[self.columns["messages"]])

    def document(self, row: Any, place: Place) -> Document:
        tools = tools_of(self.value(row, "tools", place), place)
        return Conversation(messages_of(self.value(row, "messages", place), place), place, tools)


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "role" in value[0]


def messages_of(value: Any, place: Place) -> list[dict[str, Any]]:
    """Checked messages from OpenAI's; raises DataError with file and line."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise place.error('messages must be a list of {"role": …, "content": …}')
    return [_message(item, place) for item in value]


def tools_of(value: Any, place: Place) -> list[Any]:
    """The tools on offer, given as a list or as its JSON text."""
    if not value:
        return []
    try:
        tools = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise place.error(f"the tools are no JSON ({error.msg})") from None
    return tools if isinstance(tools, list) else [tools]


def _message(item: dict[str, Any], place: Place) -> dict[str, Any]:
    role, content = role_of(item.get("role"), place), content_of(item.get("content"), place)
    if not content and item.get("tool_calls"):
        content = json.dumps(item["tool_calls"], ensure_ascii=False)
    given = next((item[key] for key in ("loss_weight", "weight") if item.get(key) is not None), None)
    return message(role, content, None if given is None else weight_of(given, place))
