"""The page for people at ``/``: files of this package, read once; nothing of it comes from elsewhere."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from .errors import Refused

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def pages() -> APIRouter:
    """``/`` is index.html, ``/page/NAME`` the files beside it."""
    router = APIRouter()
    files = _files()

    @router.get("/")
    async def index() -> Response:
        return _file(files, "index.html")

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        return _file(files, name)

    return router


def _files() -> dict[str, tuple[bytes, str]]:
    folder = resources.files(__package__ or "danlu.serve").joinpath("page")
    if not folder.is_dir():
        return {}
    named = {entry.name: entry for entry in folder.iterdir() if entry.is_file()}
    return {
        name: (entry.read_bytes(), kind)
        for name, entry in named.items()
        if (kind := KINDS.get("." + name.rpartition(".")[2])) is not None
    }


def _file(files: dict[str, tuple[bytes, str]], name: str) -> Response:
    if name not in files:
        raise Refused(f"there is no page {name[:100]!r}", status=404, code="not_found")
    content, kind = files[name]
    return Response(content, media_type=kind, headers=HEADERS)
