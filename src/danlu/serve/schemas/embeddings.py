"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .body import Body
from .completions import Prompts, listed
from .decoding import Ignored


class Embeddings(Body):
    input: Prompts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    truncate_prompt_tokens: int | None = Field(None, ge=1)
    user: Ignored = None

    @property
    def prompts(self) -> list[str | list[int]]:
        return listed(self.input)
