"""Exercises with their judge: what an answer must contain and what it must not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Message = dict[str, str]
Conversation = list[Message]


@dataclass(frozen=True)
class Exercise:
    """A conversation that ends in a question; right if an answer holds one of ``accept`` and none of ``reject``.

    ``tags`` say what it is about, for tables of results.
    """

    messages: Conversation
    accept: tuple[str, ...]
    reject: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


def right(answer: str, accept: Sequence[str], reject: Sequence[str] = ()) -> bool:
    """Whether the answer contains one of ``accept`` and, outside of it, none of ``reject``.

    Capitals count for nothing; a word or number written in ASCII must stand alone ("12" is not in "112").
    """
    text = answer.casefold()
    found = next((a for a in accept if _holds(text, a.casefold())), None)
    if found is None:
        return False
    rest = text.replace(found.casefold(), " ")
    return not any(_holds(rest, r.casefold()) for r in reject)


def _holds(text: str, phrase: str) -> bool:
    edge_left = r"(?<![0-9a-z])" if re.match(r"[0-9a-z]", phrase) else ""
    edge_right = r"(?![0-9a-z])" if re.search(r"[0-9a-z]$", phrase) else ""
    return re.search(edge_left + re.escape(phrase) + edge_right, text) is not None
