"""The ASGI application of one served model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..core.errors import DanluError
from .errors import Refused, refusal
from .house import House, answered
from .limits import Gate, Limits
from .pages import pages
from .routes import adapters, chat, completions, embeddings, plain, responses


def create(house: House, limits: Limits, *, origins: Sequence[str] = ()) -> FastAPI:
    """All routes of a house; ``origins`` are the pages of others that browsers may call it from (* for any)."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        house.service.start()
        yield
        await house.service.close()

    app = FastAPI(title="danlu", lifespan=living, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.house = house
    for part in (chat, completions, responses, embeddings, adapters, plain):
        app.include_router(part.router)
    app.include_router(pages())
    for kind in (Refused, DanluError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, _told)
    app.add_middleware(Gate, limits=limits, metrics=house.metrics)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


async def _told(request: Request, error: Exception) -> Response:
    """Every error in OpenAI's shape."""
    refused = _refused(request, error)
    response = answered(refused.body, status=refused.status)
    response.headers.update(refused.headers)
    return response


def _refused(request: Request, error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, DanluError):
        return refusal(error)
    if isinstance(error, ClientDisconnect):
        return Refused("the client is gone", status=499, code="client_gone")
    assert isinstance(error, HTTPException)
    said = f"nothing is answered at {request.method} {request.url.path[:100]}"
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    return Refused(said, status=error.status_code, code=code)
