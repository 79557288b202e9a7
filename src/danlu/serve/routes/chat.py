"""/v1/chat/completions: the next answer of a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...infer import request as engine
from ...infer.request import Told
from .. import asking, logprobs
from ..answers import Answer, Growing, Piece, Whole
from ..calling import Calling, fragment
from ..house import House, answered, body_of, head, house_of, while_listening
from ..schemas.chat import Chat
from ..sse import Streamed, data

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Chat)
    adapter = house.models.adapter(body.model)
    calling = await asyncio.to_thread(Calling.of, house, body)
    asked = await asyncio.to_thread(conversation, house, body, adapter, calling)
    name = body.model or house.models.name
    async with AsyncExitStack() as stack:
        ticket = await stack.enter_async_context(house.service.asked([asked]))
        growing = Growing.of(ticket, with_stop=body.include_stop_str_in_output, nothing=body.limit == 0)
        request.scope["usage"] = growing.usage
        shape = Shape(house, body, calling)
        if body.stream:
            first = head("chat.completion.chunk", "chatcmpl", name)
            return Streamed(_chunks(growing, shape, first), stack.pop_all())
        (whole,) = await while_listening(request, growing.done())
        choices = await asyncio.to_thread(shape.choices, whole)
        first = head("chat.completion", "chatcmpl", name)
        return answered({**first, "choices": choices, "usage": growing.usage.body, **shape.of_prompt(whole)})


def conversation(house: House, body: Chat, adapter: str | None, calling: Calling) -> engine.Request:
    """The request of an engine that a conversation makes, checked against the room there is."""
    ids = house.prompts.rendered(
        body.messages,
        tools=calling.shown,
        extras=body.chat_template_kwargs,
        asks=body.add_generation_prompt is not False,
        goes_on=body.continue_final_message,
    )
    limit = house.prompts.fitting(ids, body.limit, cut=body.truncate_prompt_tokens, param="messages")
    settings = asking.sampling(
        body, limit, house.tokenizer, house.vocab, constraint=calling.constraint, shown=calling.shown_ids
    )
    return engine.Request(
        prompt=tuple(ids), sampling=settings, adapter=adapter, salt=body.cache_salt or "", priority=body.priority or 0
    )


class Shape:
    """Answers in the form of ``choices``."""

    def __init__(self, house: House, body: Chat, calling: Calling) -> None:
        self.tokenizer, self.body = house.tokenizer, body
        self.tells_tokens = bool(body.logprobs) or body.return_token_ids
        self.readers = [calling.reader() for _ in range(body.answers)]

    def choices(self, whole: Whole) -> list[dict[str, Any]]:
        return [self._choice(index, answer) for index, answer in enumerate(whole.answers)]

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        reader = self.readers[index]
        text = reader.push(answer.text).text + reader.flush().text
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if reader.called:
            message |= {"content": text or None, "tool_calls": reader.message()}
        return {"index": index, "message": message, **self._told(answer.tokens), **self._end(index, answer)}

    def _told(self, tokens: Sequence[Told]) -> dict[str, Any]:
        told = {"logprobs": logprobs.for_chat(self.tokenizer, tokens) if self.body.logprobs else None}
        return told | ({"token_ids": [told.id for told in tokens]} if self.body.return_token_ids else {})

    def _end(self, index: int, answer: Answer) -> dict[str, Any]:
        called = answer.finish == "stop" and self.readers[index].called
        return {"finish_reason": "tool_calls" if called else answer.finish, "stop_reason": answer.stop}

    def of_prompt(self, whole: Whole) -> dict[str, Any]:
        """What was asked about the prompt itself."""
        said: dict[str, Any] = {}
        if self.body.prompt_logprobs is not None:
            said["prompt_logprobs"] = logprobs.for_prompt(self.tokenizer, whole.prompt)
        return said | ({"prompt_token_ids": list(whole.ids)} if self.body.return_token_ids else {})

    def begin(self, index: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def pieces(self, piece: Piece) -> list[dict[str, Any]]:
        """The choices of the chunks that an event becomes: what was said, and at the end why it ended."""
        reader, last = self.readers[piece.index], piece.answer.finish is not None
        said = [reader.push(piece.text), *([reader.flush()] if last else [])]
        text, calls = "".join(one.text for one in said), [call for one in said for call in one.calls]
        found = []
        if text or (piece.tokens and self.tells_tokens):
            found.append(self._chunk(piece.index, {"content": text}, **self._told(piece.tokens)))
        found += [self._chunk(piece.index, {"tool_calls": [fragment(call)]}, logprobs=None) for call in calls]
        if last:
            found.append(self._chunk(piece.index, {}, logprobs=None) | self._end(piece.index, piece.answer))
        return found

    def _chunk(self, index: int, delta: dict[str, Any], **told: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, **told, "finish_reason": None}


async def _chunks(growing: Growing, shape: Shape, first: dict[str, Any]) -> AsyncIterator[str]:
    last = {"usage": None} if shape.body.with_usage else {}
    for index in range(len(growing.wholes[0].answers)):
        yield data({**first, "choices": [shape.begin(index)], **last})
    async for piece in growing:
        for choice in shape.pieces(piece):
            yield data({**first, "choices": [choice], **last})
    if shape.body.with_usage:
        yield data({**first, "choices": [], "usage": growing.usage.body})
