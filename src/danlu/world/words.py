"""Where words end: Chinese writes no spaces, and a tokenizer should not join a name to the verb after it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .people import World

ASKING = ("请问", "你知道", "能告诉我", "什么", "哪", "吗", "呢")  # what turns a Chinese statement into a question


class Words:
    """Cuts a text at every Chinese name, value and question word, and at line ends; nothing is lost but line ends.

    Written one a line, the words of all texts are what a tokenizer is best trained on: no merge then crosses the edge
    of a name or a value, so that each is cut into the same pieces wherever it stands.
    """

    def __init__(self, world: World) -> None:
        names = [p.name.zh for p in world.people + world.strangers]
        values = [pair[1] for a in world.attributes for pair in a.values if not pair[1].isascii()]
        longest = sorted({*names, *values, *ASKING}, key=lambda w: (-len(w), w))
        self._edges = re.compile("(" + "|".join(map(re.escape, longest)) + ")|\n")

    def of(self, text: str) -> Iterator[str]:
        """The words in order."""
        return (word for word in self._edges.split(text) if word)
