"""POST /tokenize and /detokenize."""

from __future__ import annotations

from pydantic import Field, model_validator

from .body import Body
from .chat import Message, Tool
from .decoding import Ids


class Tokenize(Body):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = Field(None, min_length=1)
    tools: list[Tool] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _either(self) -> Tokenize:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give prompt or messages, one of them")
        return self


class Detokenize(Body):
    model: str | None = None
    tokens: Ids
