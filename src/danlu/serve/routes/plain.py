"""What is asked about the server itself: models, health, figures, tokens, votes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..errors import Refused
from ..house import House, answered, body_of, house_of
from ..schemas.tokens import Detokenize, Tokenize
from ..schemas.votes import Vote

router = APIRouter()


@router.get("/health")
async def health(request: Request) -> Response:
    """200 as long as the engine's thread answers."""
    house = house_of(request)
    if not house.service.alive:
        raise Refused("the engine is not running", status=503, code="stopping")
    return answered({"status": "ok"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    house = house_of(request)
    return PlainTextResponse(house.metrics.text(asdict(house.engine.stats)), media_type="text/plain; version=0.0.4")


@router.get("/v1/models")
async def models(request: Request) -> Response:
    found = house_of(request).models
    return answered({"object": "list", "data": [found.card(name) for name in found.names]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    found = house_of(request).models
    found.adapter(name)
    return answered(found.card(name))


@router.post("/tokenize")
async def tokenize(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Tokenize)
    house.models.adapter(body.model)
    ids = await asyncio.to_thread(_ids, house, body)
    said = {"count": len(ids), "max_model_len": house.prompts.context, "tokens": ids}
    strings = {"token_strs": [house.tokenizer.piece(i) for i in ids]} if body.return_token_strs else {}
    return answered({**said, **strings})


def _ids(house: House, body: Tokenize) -> list[int]:
    if body.messages is not None:
        tools = [tool.model_dump(exclude_none=True) for tool in body.tools or ()]
        return house.prompts.rendered(body.messages, tools=tools, asks=body.add_generation_prompt)
    return house.prompts.encoded(body.prompt or "", begins=body.add_special_tokens)


@router.post("/detokenize")
async def detokenize(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Detokenize)
    house.models.adapter(body.model)
    house.prompts.expect_ids(body.tokens, "tokens")
    return answered({"prompt": await asyncio.to_thread(house.tokenizer.decode, body.tokens, False)})


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request) -> Response:
    """What a client without the tokenizer's files wants to know of it."""
    tokenizer = house_of(request).tokenizer
    roles = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.pad, "unk": tokenizer.unk}
    named = {f"{role}_token": None if i is None else tokenizer.piece(i) for role, i in roles.items()}
    template = tokenizer.template.sources.get("default")
    return answered({**named, "vocab_size": tokenizer.vocab_size, "chat_template": template})


@router.get("/votes")
async def kept(request: Request) -> Response:
    votes = house_of(request).votes
    return answered({"kept": None if votes is None else votes.kept})


@router.post("/votes")
async def vote(request: Request) -> Response:
    votes, body = house_of(request).votes, await body_of(request, Vote)
    if votes is None:
        raise Refused("this server keeps no votes; start it with --votes FILE", status=404, code="votes_off")
    number = await asyncio.to_thread(votes.add, body.model_dump(exclude_none=True))
    return answered({"kept": number}, status=201)
