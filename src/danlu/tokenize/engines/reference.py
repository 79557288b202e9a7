"""The ``tokenizers`` library itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from ...core.errors import DataError
from . import ENGINES, Engine


@ENGINES.add("reference")
class Reference(Engine):
    """Encodes every vocabulary, on all cores for a batch: the ids the other engines are measured by.

    Raises: DataError if a text holds half a surrogate pair.
    Source: https://github.com/huggingface/tokenizers
    Truth:  tests/parity/test_tokenizers_real.py (published ids of GPT-2, BERT, LLaMA, T5).
    """

    speed = 2.0

    def __init__(self, plain: Backend) -> None:
        self._plain = plain

    @classmethod
    def refuses(cls, description: dict[str, Any]) -> str | None:
        return None

    @classmethod
    def build(cls, plain: Backend, description: dict[str, Any]) -> Engine:
        return cls(plain)

    def encode(self, text: str) -> list[int]:
        try:
            return self._plain.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise not_text(text, error) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            return [e.ids for e in self._plain.encode_batch_fast(list(texts), add_special_tokens=False)]
        except (UnicodeEncodeError, TypeError):
            return [self.encode(text) for text in texts]


def not_text(text: object, error: Exception) -> Exception:
    """The user's mistake of half a character; anything else is ours."""
    if not isinstance(text, str):
        return error
    return DataError("the text holds half a surrogate pair, which is no character; repair the encoding of its file")
