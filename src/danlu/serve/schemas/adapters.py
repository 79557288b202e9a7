"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .body import Body
from .decoding import Ignored

Name = Annotated[str, Field(pattern=r"^\w[\w-]{0,63}$")]


class LoadAdapter(Body):
    """``lora_path`` is the name of a folder in the server's own folder of adapters, never a path."""

    lora_name: Name
    lora_path: Annotated[str, Field(pattern=r"^\w[\w.-]{0,127}$")] | None = None
    load_inplace: bool = False
    lora_int_id: Ignored = None


class UnloadAdapter(Body):
    lora_name: Name
    lora_int_id: Ignored = None
