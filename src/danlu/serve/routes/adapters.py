"""/v1/load_lora_adapter and /v1/unload_lora_adapter: adapters of the server's own folder."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..errors import Refused
from ..house import answered, body_of, house_of
from ..schemas.adapters import LoadAdapter, UnloadAdapter
from ..shelf import Shelf

router = APIRouter()


@router.post("/v1/load_lora_adapter")
async def load(request: Request) -> Response:
    shelf, body = _shelf(request), await body_of(request, LoadAdapter)
    if body.lora_name == house_of(request).models.name:
        raise Refused(f"{body.lora_name!r} is the model itself; choose another name", param="lora_name")
    await shelf.load(body.lora_name, body.lora_path or body.lora_name, again=body.load_inplace)
    return answered({"loaded": body.lora_name})


@router.post("/v1/unload_lora_adapter")
async def unload(request: Request) -> Response:
    shelf, body = _shelf(request), await body_of(request, UnloadAdapter)
    await shelf.unload(body.lora_name)
    return answered({"unloaded": body.lora_name})


@router.get("/v1/adapters")
async def adapters(request: Request) -> Response:
    """What is loaded, and what could be."""
    house = house_of(request)
    return answered({"loaded": house.engine.adapters, "shelf": house.shelf.names if house.shelf else []})


def _shelf(request: Request) -> Shelf:
    shelf = house_of(request).shelf
    if shelf is None:
        said = "this server loads no adapters at run time; start it with --shelf FOLDER"
        raise Refused(said, status=404, code="shelf_off")
    return shelf
