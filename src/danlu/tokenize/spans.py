"""Where the answers of a rendered conversation begin and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import DataError

SENTINEL = "\ue0a7"  # a private character that stands in for an answer
ANSWERS = "assistant"
THOUGHT = "<think>"  # a prompt may open one that the template strips from answers given before

Render = Callable[[Sequence[Mapping[str, Any]], bool], str]


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` of the text are the answer of one message, its end-of-turn token included.

    ``closed``: whether that token is there.
    """

    message: int
    start: int
    end: int
    closed: bool


def answer_spans(
    text: str, messages: Sequence[Mapping[str, Any]], header: str, end: str, render: Render, prompt: bool
) -> list[Span]:
    """The answers' places in ``text``, the rendering of ``messages``.

    header: what the template writes when asked for an answer; end: what it writes after one, "" if it ends none.
    An answer begins where the prompt that asks for it would end, so thoughts a template adds or strips belong to it or
    to the prompt as they do when serving.
    Raises: DataError if the template drops an answer or writes before it what it does not write when asked for it.
    """
    answers = [n for n, message in enumerate(messages) if message["role"] == ANSWERS]
    if not answers:
        return []
    plain = _as_written(text, messages, answers, header, end, prompt)
    return plain if plain is not None else _by_exchange(text, messages, answers, header, end, render, prompt)


def _as_written(
    text: str, messages: Sequence[Mapping[str, Any]], answers: list[int], header: str, end: str, prompt: bool
) -> list[Span] | None:
    """The common case in one pass: header, content as it is (or trimmed), end. None where anything differs."""
    if not header or not end or text.count(header) != len(answers) + prompt:
        return None
    spans: list[Span] = []
    at = 0
    for number in answers:
        content = messages[number].get("content")
        start = text.find(header, at) + len(header)
        if not isinstance(content, str) or start < len(header):
            return None
        if not text.startswith(content + end, start):
            content = content.strip()
            if not text.startswith(content + end, start):
                return None
        at = start + len(content) + len(end)
        spans.append(Span(number, start, at, True))
    return spans


def _by_exchange(
    text: str,
    messages: Sequence[Mapping[str, Any]],
    answers: list[int],
    header: str,
    end: str,
    render: Render,
    prompt: bool,
) -> list[Span]:
    """The general case: what changes in the text when one answer is exchanged for a private character is its place."""
    places = [_place(text, messages, number, render, prompt) for number in answers]
    limits = [*(begin for begin, _ in places[1:]), len(text)]
    spans: list[Span] = []
    lower = 0
    mark = end.lstrip() or end
    for number, (begin, stop), limit in zip(answers, places, limits, strict=True):
        start = _start(text, messages, number, header, begin, lower, render)
        found = text.find(mark, max(stop, start), limit) if mark else -1
        lower = stop if found < 0 else found + len(mark)
        spans.append(Span(number, start, max(lower, start), found >= 0))
    return spans


def _place(
    text: str, messages: Sequence[Mapping[str, Any]], number: int, render: Render, prompt: bool
) -> tuple[int, int]:
    """The first and last place where the text with another answer differs."""
    changed = list(messages)
    changed[number] = _exchanged(messages[number])
    other = render(changed, prompt)
    if SENTINEL not in other:
        raise DataError(
            f"the chat template leaves out the answer in message {number + 1}; use a template that writes it"
        )
    begin = _shared(text, other)
    tail = _shared(text[begin:][::-1], other[begin:][::-1])
    return begin, len(text) - tail


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _exchanged(message: Mapping[str, Any]) -> dict[str, Any]:
    content: Any = SENTINEL
    if isinstance(message.get("content"), (list, tuple)):
        content = [{"type": "text", "text": SENTINEL}]
    thoughts = {name: SENTINEL for name in ("reasoning_content", "thinking") if isinstance(message.get(name), str)}
    return {**message, "content": content, **thoughts}


def _start(
    text: str,
    messages: Sequence[Mapping[str, Any]],
    number: int,
    header: str,
    begin: int,
    lower: int,
    render: Render,
) -> int:
    """Where the prompt that asks for this answer ends in the text: at the latest where the answer's own text begins."""
    asked = _asked(messages[:number], render)
    if asked is not None and lower < len(asked) <= begin and text.startswith(asked):
        return len(asked)
    least = min(header.find("\n") + 1 or len(header), len(header.partition(THOUGHT)[0]))
    for length in range(len(header), max(least, 1) - 1, -1):
        if (place := text.rfind(header[:length], lower, begin)) >= 0:
            return place + length
    if header:
        raise DataError(
            f"the chat template writes something else before the answer in message {number + 1} than {header!r}, which "
            "it writes when asked for an answer; make add_generation_prompt write what precedes answers"
        )
    return begin


def _asked(before: Sequence[Mapping[str, Any]], render: Render) -> str | None:
    try:
        return render(before, True) if before else None
    except DataError:  # a template may refuse the beginning of a conversation that it takes as a whole
        return None
