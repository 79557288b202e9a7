"""One file a kind of vocabulary that llama.cpp has: from a ``tokenizer.json`` to its fields, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tokenizers import Tokenizer as Backend

from ....core.registry import Registry
from ...spm import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

__all__ = ["BYTE", "CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "USER_DEFINED", "VOCABULARIES", "Vocabulary"]


class Vocabulary(ABC):
    """How llama.cpp cuts text with vocabularies of one kind; fields are named without ``tokenizer.ggml.``."""

    @abstractmethod
    def refuses(self, description: dict[str, Any]) -> str | None:
        """Why llama.cpp would give other ids than this ``tokenizer.json``; None if it gives the same."""

    @abstractmethod
    def fields(self, tokenizer: Any) -> dict[str, Any]:
        """What llama.cpp must know beside pieces and special tokens."""

    @abstractmethod
    def backend(self, said: dict[str, Any]) -> Backend:
        """The engine of what a file says; raises DataError for what is not built."""

    def differs(self, description: dict[str, Any]) -> str | None:
        """On which rare texts llama.cpp gives other ids, None if on none."""
        return None

    def scores(self, description: dict[str, Any], texts: list[str]) -> list[float]:
        """A score for each piece; none where llama.cpp needs none."""
        return []

    def type_of(self, text: str, type_: int) -> int:
        """The type of a piece, given what it is by its place among added tokens."""
        return type_


VOCABULARIES: Registry[type[Vocabulary]] = Registry("GGUF vocabulary", Vocabulary, __name__)


def steps_of(step: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a sequence, flat."""
    if step is None:
        return []
    return [deep for inner in step[name] for deep in steps_of(inner, name)] if name in step else [step]
