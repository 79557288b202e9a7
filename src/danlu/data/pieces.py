"""Long text in pieces that fit in memory, cut where a tokenizer would cut anyway."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator

from .readers import Row

PIECE = 1 << 19  # characters
SEAM = re.compile(r"(?<=\S\n)(?=\S)")  # after the line end
GAP = re.compile(r"(?<=\S)(?= \S)")  # before the space


def cut(text: str, size: int) -> int:
    """Where a piece of at most ``size`` characters ends: between two lines that are not blank, else before a space
    between words (both in the second half of the piece), else at ``size``.

    Pre-tokenizers of the GPT-2 kind give the same tokens on both sides of the first two.
    """
    for mark, pattern in (("\n", SEAM), (" ", GAP)):
        place = text.rfind(mark, size // 2, size)
        while place > 0:
            found = place + 1 if mark == "\n" else place
            if found < len(text) and pattern.match(text, found):
                return found
            place = text.rfind(mark, size // 2, place)
    return size


def pieces(blocks: Iterable[str], size: int = PIECE, cut: Callable[[str, int], int] = cut) -> Iterator[str]:
    """Joins blocks and cuts them again into pieces of at most ``size`` characters; joined, they are the text."""
    held = ""
    for block in blocks:
        held, start = held + block, 0
        while len(held) - start > size:
            window = held[start : start + size + 1]  # one more: a cut looks at what follows it
            place = cut(window, size)
            yield window[:place]
            start += place
        held = held[start:]
    if held:
        yield held


def running(texts: Iterable[str]) -> Iterator[Row]:
    """One row a piece of one document, each with its line; nothing for an empty text."""
    held, line, first = None, 1, True
    for text in texts:
        if held is not None:
            yield Row(line, _raw(held), first, False)
            line, first = line + held.count("\n"), False
        held = text
    if held is not None:
        yield Row(line, _raw(held), first, True)


def _raw(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()
