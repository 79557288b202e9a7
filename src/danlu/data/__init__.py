"""Files to rows to documents to tokens to batches: read any shape, tokenize once, pack, mix, and go on after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .documents import Conversation, Document, Place, Text
from .prepare import Prepared, build
from .reading import read_documents
from .recipe import DataRecipe, HeldOut, Pack, Source
from .stock import Stock

if TYPE_CHECKING:
    from .feed import Stream, once, stream

__all__ = [
    "Conversation",
    "DataRecipe",
    "Document",
    "HeldOut",
    "Pack",
    "Place",
    "Prepared",
    "Source",
    "Stock",
    "Stream",
    "Text",
    "build",
    "once",
    "read_documents",
    "stream",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when asked for: preparing data and its processes do without."""
    if name in ("Stream", "once", "stream"):
        from . import feed

        return getattr(feed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
