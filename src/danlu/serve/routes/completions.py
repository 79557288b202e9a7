"""/v1/completions: texts gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...infer import request as engine
from ...tokenize import Tokenizer
from .. import asking, logprobs
from ..answers import Answer, Growing, Piece, Whole
from ..errors import Refused
from ..house import House, answered, body_of, head, house_of, while_listening
from ..schemas.completions import Completions
from ..sse import Streamed, data

router = APIRouter()


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Completions)
    adapter = house.models.adapter(body.model)
    requests = await asyncio.to_thread(_requests, house, body, adapter)
    first = head("text_completion", "cmpl", body.model or house.models.name)
    async with AsyncExitStack() as stack:
        ticket = await stack.enter_async_context(house.service.asked(requests))
        growing = Growing.of(ticket, with_stop=body.include_stop_str_in_output, nothing=body.limit == 0)
        request.scope["usage"] = growing.usage
        shape = Shape(house, body)
        if body.stream:
            return Streamed(_chunks(growing, shape, first), stack.pop_all())
        wholes = await while_listening(request, growing.done())
        choices = await asyncio.to_thread(shape.choices, wholes)
        return answered({**first, "choices": choices, "usage": growing.usage.body})


def _requests(house: House, body: Completions, adapter: str | None) -> list[engine.Request]:
    """One a prompt, each checked against the room there is."""
    if not body.prompts:
        raise Refused("prompt is an empty list; give one prompt at least", param="prompt")
    if len(body.prompts) > house.service.most:
        raise Refused(f"prompt: {len(body.prompts)} prompts; this server takes {house.service.most}", param="prompt")
    requests = []
    for prompt in body.prompts:
        ids = house.prompts.encoded(prompt, begins=body.add_special_tokens)
        limit = house.prompts.fitting(ids, body.limit, cut=body.truncate_prompt_tokens)
        settings = asking.sampling(body, limit, house.tokenizer, house.vocab)
        requests.append(
            engine.Request(
                prompt=tuple(ids), sampling=settings, adapter=adapter,
                salt=body.cache_salt or "", priority=body.priority or 0,
            )
        )  # fmt: skip
    return requests


class Shape:
    """Answers in the form of ``choices``."""

    def __init__(self, house: House, body: Completions) -> None:
        self.tokenizer: Tokenizer = house.tokenizer
        self.body, self.prompts = body, body.prompts
        self.tells_tokens = body.logprobs is not None or body.return_token_ids

    def choices(self, wholes: list[Whole]) -> list[dict[str, Any]]:
        return [
            self._choice(place * self.body.answers + index, place, whole, answer)
            for place, whole in enumerate(wholes)
            for index, answer in enumerate(self._taken(whole))
        ]

    def _taken(self, whole: Whole) -> list[Answer]:
        count = self.body.answers
        return whole.best(count) if len(whole.answers) > count else whole.answers

    def _choice(self, index: int, place: int, whole: Whole, answer: Answer) -> dict[str, Any]:
        before = self.echoed(place, whole) if self.body.echo else ""
        tokens = [*whole.prompt, *answer.tokens] if self.body.echo else answer.tokens
        ids = [*whole.ids, *(told.id for told in answer.tokens)] if self.body.echo else [t.id for t in answer.tokens]
        told = None
        if self.body.logprobs is not None:
            told = logprobs.for_completions(self.tokenizer, tokens, ids, 0)
        choice = self.part(index, before + answer.text, told, answer)
        if self.body.prompt_logprobs is not None:
            choice["prompt_logprobs"] = logprobs.for_prompt(self.tokenizer, whole.prompt)
        if self.body.return_token_ids:
            choice |= {"token_ids": [told.id for told in answer.tokens], "prompt_token_ids": list(whole.ids)}
        return choice

    def echoed(self, place: int, whole: Whole) -> str:
        """The prompt as text: as it was given, if it was text and none of it was cut."""
        prompt = self.prompts[place]
        if isinstance(prompt, str) and self.body.truncate_prompt_tokens is None:
            return prompt
        return self.tokenizer.decode(whole.ids)

    def part(self, index: int, text: str, told: dict[str, Any] | None, answer: Answer) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": told,
            "finish_reason": answer.finish,
            "stop_reason": answer.stop,
        }

    def piece(self, piece: Piece) -> dict[str, Any]:
        """One chunk's choice."""
        told = None
        if self.body.logprobs is not None and piece.tokens:
            at = len(piece.answer.text) - len(piece.text)
            told = logprobs.for_completions(self.tokenizer, piece.tokens, [one.id for one in piece.tokens], at)
        choice = self.part(piece.place * self.body.answers + piece.index, piece.text, told, piece.answer)
        return choice | ({"token_ids": [one.id for one in piece.tokens]} if self.body.return_token_ids else {})

    def echo(self, index: int, place: int, whole: Whole) -> dict[str, Any]:
        """The chunk that says the prompt."""
        text = self.echoed(place, whole)
        told = None
        if self.body.logprobs is not None:
            told = logprobs.for_completions(self.tokenizer, whole.prompt, whole.ids, 0)
        return {"index": index, "text": text, "logprobs": told, "finish_reason": None}


async def _chunks(growing: Growing, shape: Shape, first: dict[str, Any]) -> AsyncIterator[str]:
    last = {"usage": None} if shape.body.with_usage else {}
    echoed: set[tuple[int, int]] = set()
    async for piece in growing:
        key = piece.place, piece.index
        if shape.body.echo and key not in echoed:
            echoed.add(key)
            whole = growing.wholes[piece.place]
            choice = shape.echo(piece.place * shape.body.answers + piece.index, piece.place, whole)
            yield data({**first, "choices": [choice], **last})
        if piece.text or piece.answer.finish or (piece.tokens and shape.tells_tokens):
            yield data({**first, "choices": [shape.piece(piece)], **last})
    if shape.body.with_usage:
        yield data({**first, "choices": [], "usage": growing.usage.body})
