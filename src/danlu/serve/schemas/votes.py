"""POST /votes: which of two answers people took."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .body import Body


class Said(Body):
    role: Literal["system", "user", "assistant"]
    content: str


class Side(Body):
    model: str
    text: str
    settings: dict[str, str | int | float | bool | None] | None = Field(None, max_length=32)


class Vote(Body):
    conversation: Annotated[list[Said], Field(min_length=1, max_length=1000)]
    left: Side
    right: Side
    vote: Literal["left", "right", "tie", "neither"]
    comment: Annotated[str, Field(max_length=10_000)] | None = None
