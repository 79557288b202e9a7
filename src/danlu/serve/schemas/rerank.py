"""POST /v1/rerank: Jina's and Cohere's fields, and those of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .body import Body
from .decoding import Ignored

Texts = Annotated[list[str], Field(min_length=1, max_length=1000)]


class Document(Body):
    text: str


class Rerank(Body):
    query: str
    documents: Annotated[list[str | Document], Field(min_length=1, max_length=1000)]
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = True
    truncate_prompt_tokens: int | None = Field(None, ge=1)
    max_chunks_per_doc: Ignored = None
    user: Ignored = None


class TeiRerank(Body):
    query: str
    texts: Texts
    return_text: bool = False
    raw_scores: bool = False
    truncate: bool = False
    model: str | None = None
