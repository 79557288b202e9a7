"""ShareGPT's conversations."""

from __future__ import annotations

from typing import Any

from ..documents import Conversation, Document, Place
from ..turns import KNOWN, content_of, message, role_of
from . import FORMATS, Format
from .messages import is_messages, messages_of, tools_of


@FORMATS.add("sharegpt")
class ShareGpt(Format):
    """``{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}``, maybe ``system``, ``tools``.

    ``tags`` rename the two keys and the roles. Messages in OpenAI's keys under this column are read too.
    Source: Chiang et al. 2023 (Vicuna), https://github.com/lm-sys/FastChat; tags as LLaMA-Factory's dataset_info.json.
    Truth:  tests/truth/test_data_formats.py (hand-written rows; every row of FastChat's dummy conversations).
    """

    needs = ("conversations",)
    takes = ("system", "tools")
    tags = {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "system_tag": "system",
        "observation_tag": "observation",
        "function_tag": "function_call",
    }
    example = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}
    rank = 6

    def document(self, row: Any, place: Place) -> Document:
        turns = self.value(row, "conversations", place)
        tools = tools_of(self.value(row, "tools", place), place)
        openai = is_messages(turns) and self.names["role_tag"] not in turns[0]
        messages = messages_of(turns, place) if openai else self._messages(turns, place)
        system = self.text(row, "system", place)
        if system and not (messages and messages[0]["role"] == "system"):
            messages = [message("system", system), *messages]
        return Conversation(messages, place, tools)

    def _messages(self, turns: Any, place: Place) -> list[dict[str, Any]]:
        who, what = self.names["role_tag"], self.names["content_tag"]
        if not isinstance(turns, list) or not all(isinstance(t, dict) and {who, what} <= set(t) for t in turns):
            raise place.error(f"{self.columns['conversations']!r} must be a list of {{{who!r}: …, {what!r}: …}}")
        roles = self._roles()
        return [message(role_of(t[who], place, roles), content_of(t[what], place)) for t in turns]

    def _roles(self) -> dict[str, str]:
        renamed = {
            self.names["user_tag"]: "user",
            self.names["assistant_tag"]: "assistant",
            self.names["system_tag"]: "system",
            self.names["observation_tag"]: "tool",
            self.names["function_tag"]: "assistant",
        }
        return {**KNOWN, **renamed}
