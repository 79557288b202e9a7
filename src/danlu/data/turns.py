"""Messages as every format hands them on: known roles, text contents, weights in range."""

from __future__ import annotations

from typing import Any

from .documents import ROLES, Conversation, Place

KNOWN = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}


def role_of(name: Any, place: Place, names: dict[str, str] = KNOWN) -> str:
    """The role behind a name; raises DataError for an unknown one."""
    if isinstance(name, str) and name in names:
        return names[name]
    raise place.error(f"unknown role {name!r}; known are {sorted(names)} (rename others with tags)")


def content_of(content: Any, place: Place) -> str:
    """Text, or the text parts of a list of parts; raises DataError for pictures and the like."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(_part(part, place) for part in content)
    raise place.error("a message's content is neither text nor a list of parts")


def weight_of(weight: Any, place: Place) -> float:
    """A message's loss weight; raises DataError if it is no number of at least 0."""
    if isinstance(weight, (int, float)) and 0 <= weight < float("inf"):
        return float(weight)
    raise place.error(f"the loss weight {weight!r} is no number of at least 0")


def message(role: str, content: str, weight: float | None = None) -> dict[str, Any]:
    assert role in ROLES
    return (
        {"role": role, "content": content} if weight is None else {"role": role, "content": content, "weight": weight}
    )


def exchange(prompt: str, answer: str, place: Place, *, system: str = "", history: Any = None) -> Conversation:
    """A system prompt, older question-answer pairs, the prompt and its answer."""
    messages = [message("system", system)] if system else []
    for question, reply in _pairs(history, place):
        messages += [message("user", question), message("assistant", reply)]
    return Conversation([*messages, message("user", prompt), message("assistant", answer)], place)


def _pairs(history: Any, place: Place) -> list[tuple[str, str]]:
    pairs = history or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair) for pair in pairs
    ):
        raise place.error("the history is no list of [question, answer] pairs of text")
    return [(question, answer) for question, answer in pairs]


def _part(part: Any, place: Place) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "output_text"):
        text = part.get("text", part.get("value"))
        if isinstance(text, str):
            return text
    kind = part.get("type") if isinstance(part, dict) else None
    raise place.error(f"a message holds a part of type {kind!r}; only text parts can be trained on here")
