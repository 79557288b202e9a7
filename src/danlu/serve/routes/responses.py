"""/v1/responses: the next answer of a conversation, as items."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from ..answers import Growing
from ..calling import Calling
from ..errors import Refused
from ..house import answered, body_of, house_of, while_listening
from ..items import Items
from ..schemas.chat import Chat
from ..schemas.responses import Responses
from ..sse import Streamed, named
from .chat import conversation

router = APIRouter()


@router.post("/v1/responses")
async def responses(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Responses)
    chat = _chat(body)
    adapter = house.models.adapter(body.model)
    calling = await asyncio.to_thread(Calling.of, house, chat)
    asked = await asyncio.to_thread(conversation, house, chat, adapter, calling)
    async with AsyncExitStack() as stack:
        ticket = await stack.enter_async_context(house.service.asked([asked]))
        growing = Growing.of(ticket, with_stop=False)
        request.scope["usage"] = growing.usage
        whole = Whole(body, body.model or house.models.name)
        items = Items(calling.reader())
        if body.stream:
            return Streamed(_events(growing, items, whole), stack.pop_all(), end="")
        await while_listening(request, growing.done())
        answer = growing.wholes[0].answers[0]
        for _ in items.take(answer.text, last=True):
            pass
        return answered(whole.told(items.output, growing, answer.finish))


def _chat(body: Responses) -> Chat:
    try:
        return Chat.model_validate(body.chat)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = str(first["loc"][0]) if first["loc"] else None
        raise Refused(first["msg"].removeprefix("Value error, "), param=param) from None


async def _events(growing: Growing, items: Items, whole: Whole) -> AsyncIterator[str]:
    number = 0

    def event(kind: str, told: dict[str, Any]) -> str:
        nonlocal number
        number += 1
        return named(kind, {"type": kind, "sequence_number": number - 1, **told})

    for kind in ("response.created", "response.in_progress"):
        yield event(kind, {"response": whole.told([], None, None)})
    finish = None
    async for piece in growing:
        finish = piece.answer.finish
        for kind, told in items.take(piece.text, last=finish is not None):
            yield event(kind, told)
    kind = "response.incomplete" if finish == "length" else "response.completed"
    yield event(kind, {"response": whole.told(items.output, growing, finish)})


class Whole:
    """The object that is answered, begun or done."""

    def __init__(self, body: Responses, model: str) -> None:
        self.head = {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time())}
        self.body, self.model = body, model

    def told(self, output: list[dict[str, Any]], growing: Growing | None, finish: str | None) -> dict[str, Any]:
        cut = finish == "length"
        body = self.body
        return {
            **self.head,
            "status": "in_progress" if finish is None else "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "error": None,
            "model": self.model,
            "output": output,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "tool_choice": body.tool_choice.model_dump() if _is_named(body) else body.tool_choice or "auto",  # type: ignore[union-attr]
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "metadata": body.metadata or {},
            "store": False,
            "user": body.user,
            "usage": None if growing is None else _usage(growing),
        }


def _is_named(body: Responses) -> bool:
    return not isinstance(body.tool_choice, str) and body.tool_choice is not None


def _usage(growing: Growing) -> dict[str, Any]:
    usage = growing.usage
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.answer,
    }
