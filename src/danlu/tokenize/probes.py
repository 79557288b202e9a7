"""Small conversations of private characters that show what a chat template does: which roles, what around an answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PROBE_USER, PROBE_ANSWER, PROBE_NEXT = "\ue0a1", "\ue0a2", "\ue0a3"  # private characters: no text holds them

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Marks:
    """What a template writes around an answer: before it when asked to generate, and the token that ends it.

    gap: what stands between the answer and that token; between: whether answers that are followed by another turn end
    in it too.
    """

    header: str = ""
    end: str | None = None
    gap: str = ""
    between: bool = False


def read_marks(render: Callable[[Rows, bool], str], special: re.Pattern[str]) -> Marks:
    """render: text of a conversation, with or without asking for an answer, "" if refused; special: special tokens."""
    asked = {"role": "user", "content": PROBE_USER}
    answer = {"role": "assistant", "content": PROBE_ANSWER}
    told, asking = render([asked], False), render([asked], True)
    header = asking[len(told) :] if told and asking.startswith(told) else ""
    last = render([asked, answer], False).partition(PROBE_ANSWER)[2]
    if (found := special.search(last)) is None:
        return Marks(header=header)
    middle = render([asked, answer, {"role": "user", "content": PROBE_NEXT}], False)
    between = special.search(middle.partition(PROBE_ANSWER)[2])
    refused = not middle  # a template may refuse this conversation; then each answer is looked at by itself
    return Marks(header, found[0], last[: found.start()], refused or (between is not None and between[0] == found[0]))


def role_probes(role: str) -> list[Rows]:
    """Conversations in which a template may let a role speak: what it says is PROBE_ANSWER."""
    said = {"role": role, "content": PROBE_ANSWER}
    user = {"role": "user", "content": PROBE_USER}
    answer = {"role": "assistant", "content": PROBE_NEXT}
    return [[user, said], [said, user, answer], [said], [user, answer, said], [user, answer, said, answer]]
