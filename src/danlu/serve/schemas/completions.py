"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from .decoding import Decoding, Ids, Ignored

Prompts = str | Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)]


class Completions(Decoding):
    prompt: Prompts
    max_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False
    suffix: Ignored = None
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _agrees(self) -> Completions:
        if self.suffix:
            raise ValueError("suffix asks for a model that fills gaps, and this server goes on with texts only")
        if self.best_of is not None and self.best_of < self.answers:
            raise ValueError(f"best_of {self.best_of} is fewer than the n {self.answers} asked for")
        if self.stream and not self.use_beam_search and (self.best_of or 0) > self.answers:
            raise ValueError("best_of answers are compared when all are done, so they cannot be streamed")
        return self

    @property
    def limit(self) -> int:
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def told(self) -> int | None:
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        return listed(self.prompt)


def listed(prompt: Prompts) -> list[str | list[int]]:
    """One or more, each text or token ids."""
    if isinstance(prompt, str):
        return [prompt]
    ids = [one for one in prompt if isinstance(one, int)]
    return [ids] if ids else [one for one in prompt if not isinstance(one, int)]
