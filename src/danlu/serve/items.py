"""The output items of /v1/responses: one message, then calls of tools; each begins, grows and is done."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from .call_reader import Fragment
from .calling import Reads

Told = Iterator[tuple[str, dict[str, Any]]]


class Items:
    """``take`` gives the events of what was added; ``output`` are the items that are done."""

    def __init__(self, reader: Reads) -> None:
        self.reader = reader
        self.output: list[dict[str, Any]] = []
        self.open: dict[str, Any] | None = None
        self.empty = True

    def take(self, text: str, *, last: bool) -> Told:
        for said in [self.reader.push(text), *([self.reader.flush()] if last else [])]:
            if said.text:
                yield from self._text(said.text)
            for call in said.calls:
                yield from self._call(call)
        if last:
            if self.empty:
                yield from self._text("")
            yield from self._close()

    def _text(self, delta: str) -> Told:
        if self.open is None or self.open["type"] != "message":
            yield from self._close()
            item = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "role": "assistant"}
            yield from self._begin(item, content=[])
            yield "response.content_part.added", {**self._place, "content_index": 0, "part": _part("")}
            self.text = ""
        self.text += delta
        if delta:
            place = {**self._place, "content_index": 0}
            yield "response.output_text.delta", {**place, "delta": delta, "logprobs": []}

    def _call(self, call: Fragment) -> Told:
        if call.id is not None:
            yield from self._close()
            item = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call.id, "name": call.name}
            yield from self._begin(item, arguments="")
            self.text = ""
        self.text += call.arguments
        if call.arguments:
            yield "response.function_call_arguments.delta", {**self._place, "delta": call.arguments}

    def _begin(self, item: dict[str, Any], **rest: Any) -> Told:
        self.open, self.empty = item, False
        added = {**item, **rest, "status": "in_progress"}
        yield "response.output_item.added", {"output_index": len(self.output), "item": added}

    def _close(self) -> Told:
        if self.open is None:
            return
        if self.open["type"] == "message":
            place = {**self._place, "content_index": 0}
            yield "response.output_text.done", {**place, "text": self.text, "logprobs": []}
            yield "response.content_part.done", {**place, "part": _part(self.text)}
            whole = {**self.open, "content": [_part(self.text)]}
        else:
            done = {**self._place, "name": self.open["name"], "arguments": self.text}
            yield "response.function_call_arguments.done", done
            whole = {**self.open, "arguments": self.text}
        item = {**whole, "status": "completed"}
        yield "response.output_item.done", {"output_index": len(self.output), "item": item}
        self.output.append(item)
        self.open = None

    @property
    def _place(self) -> dict[str, Any]:
        assert self.open is not None
        return {"item_id": self.open["id"], "output_index": len(self.output)}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
