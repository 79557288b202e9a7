"""/v1/embeddings and /v1/rerank: texts as vectors, and texts in the order of how near they are to a question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from torch import Tensor

from ..embedding import embedded, shortened, spelled
from ..errors import Refused, too_long
from ..house import House, answered, body_of, house_of, while_listening
from ..schemas.embeddings import Embeddings
from ..schemas.rerank import Rerank, TeiRerank

router = APIRouter()


@router.post("/v1/embeddings")
async def embeddings(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Embeddings)
    adapter = house.models.adapter(body.model)
    width = house.engine.model.dims.model
    if body.dimensions is not None and body.dimensions > width:
        raise Refused(f"dimensions: the model's vectors have {width}, not {body.dimensions}", param="dimensions")
    if not (prompts := body.prompts):
        raise Refused("input is an empty list; give one text at least", param="input")
    rows = await asyncio.to_thread(_rows, house, prompts, body.truncate_prompt_tokens, "input")
    vectors = await while_listening(request, _vectors(house, rows, adapter))
    cut = [shortened(vector, body.dimensions) for vector in vectors]
    plain = body.encoding_format == "float"
    told = [
        {"object": "embedding", "index": index, "embedding": vector.tolist() if plain else spelled(vector)}
        for index, vector in enumerate(cut)
    ]
    name = body.model or house.models.name
    return answered({"object": "list", "data": told, "model": name, "usage": _usage(rows)})


@router.post("/v1/rerank")
async def rerank(request: Request) -> Response:
    house, body = house_of(request), await body_of(request, Rerank)
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    scores, usage = await _scored(request, body.query, texts, body.model, body.truncate_prompt_tokens)
    told: list[dict[str, Any]] = [{"index": index, "relevance_score": score} for index, score in scores[: body.top_n]]
    if body.return_documents:
        told = [{**one, "document": {"text": texts[one["index"]]}} for one in told]
    return answered({"model": body.model or house.models.name, "results": told, "usage": usage})


@router.post("/rerank")
async def tei_rerank(request: Request) -> Response:
    """As text-embeddings-inference has it."""
    house, body = house_of(request), await body_of(request, TeiRerank)
    cut = house.prompts.context if body.truncate else None
    scores, _ = await _scored(request, body.query, body.texts, body.model, cut)
    told: list[dict[str, Any]] = [{"index": index, "score": score} for index, score in scores]
    return answered([{**one, "text": body.texts[one["index"]]} if body.return_text else one for one in told])


async def _scored(
    request: Request, query: str, texts: Sequence[str], model: str | None, cut: int | None
) -> tuple[list[tuple[int, float]], dict[str, int]]:
    """The texts by their cosine with the query, the nearest first."""
    house = house_of(request)
    adapter = house.models.adapter(model)
    rows = await asyncio.to_thread(_rows, house, [query, *texts], cut, "documents")
    first, *others = await while_listening(request, _vectors(house, rows, adapter))
    scores = [(index, float(first @ other)) for index, other in enumerate(others)]
    return sorted(scores, key=lambda one: -one[1]), _usage(rows)


def _rows(house: House, texts: Sequence[str | Sequence[int]], cut: int | None, param: str) -> list[list[int]]:
    if len(texts) > house.service.most * 8:
        raise Refused(f"{param}: {len(texts)} texts; this server takes {house.service.most * 8}", param=param)
    rows = [house.prompts.encoded(text, param=param) for text in texts]
    for number, ids in enumerate(rows):
        if cut is not None:
            del ids[:-cut]
        if not ids:
            raise Refused(f"{param}.{number} is empty; give it a character", param=param)
        if len(ids) > house.prompts.context:
            room = house.prompts.context
            raise too_long(f"{param}.{number} has {len(ids)} tokens, the model reads {room}; shorten it", param)
    return rows


async def _vectors(house: House, rows: Sequence[Sequence[int]], adapter: str | None) -> list[Tensor]:
    """One text a turn of the engine's thread: answers go on between them."""
    model, pooling = house.engine.model, house.pooling
    acting = house.acting(adapter)
    return [
        await house.service.call(lambda ids=ids: embedded(model, ids, adapters=acting, pooling=pooling)) for ids in rows
    ]


def _usage(rows: Sequence[Sequence[int]]) -> dict[str, int]:
    count = sum(map(len, rows))
    return {"prompt_tokens": count, "total_tokens": count}
