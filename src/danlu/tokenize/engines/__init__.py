"""Who turns text into ids: the reference, and faster ones that must give the very same ids or are not used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from ...core.registry import Registry
from .probe import PROBE


class Engine(ABC):
    """Encodes plain text: special tokens that a text spells are text."""

    speed: float = 0.0  # MB a CPU-second, as measured; the fastest that serves is taken

    @classmethod
    @abstractmethod
    def refuses(cls, description: dict[str, Any]) -> str | None:
        """Why it cannot give the ids of this ``tokenizer.json``, or None. Asked before anything is built."""

    @classmethod
    @abstractmethod
    def build(cls, plain: Backend, description: dict[str, Any]) -> Engine:
        """The engine for a vocabulary it does not refuse."""

    @abstractmethod
    def encode(self, text: str) -> list[int]: ...

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


ENGINES: Registry[type[Engine]] = Registry("tokenizer engine", Engine, __name__)


def fastest(plain: Backend, description: dict[str, Any]) -> Engine:
    """The fastest engine that refuses nothing and gives the reference's ids on the probe texts."""
    wanted = [encoding.ids for encoding in plain.encode_batch(PROBE, add_special_tokens=False)]
    for kind in sorted((ENGINES[name] for name in ENGINES), key=lambda engine: -engine.speed):
        if kind.refuses(description) is not None:
            continue
        engine = kind.build(plain, description)
        if engine.encode_batch(PROBE) == wanted:
            return engine
    raise AssertionError("the reference engine refuses nothing")
