"""Functions that tests offer, and what a reader makes of an answer that comes in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from danlu.serve.call_reader import CallReader

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def offered(*, strict: bool = False) -> list[dict[str, Any]]:
    weather = {"name": "weather", "description": "Tomorrow's.", "parameters": WEATHER, "strict": strict}
    return [{"type": "function", "function": weather}, {"type": "function", "function": {"name": "stop_all"}}]


def chosen(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def read(reader: CallReader, pieces: Iterable[str]) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls (name, arguments), put together from what was told piece by piece."""
    said = [*map(reader.push, pieces), reader.flush()]
    fragments = [fragment for one in said for fragment in one.calls]
    calls: dict[int, list[str]] = {}
    ids = set()
    for fragment in fragments:
        assert (fragment.id is None) == (fragment.name is None)
        assert (fragment.index in calls) == (fragment.id is None), "id and name come with the first fragment only"
        assert fragment.index == len(calls) - (fragment.id is None), "calls come one after the other"
        if fragment.name is not None:
            ids.add(fragment.id)
        calls.setdefault(fragment.index, [fragment.name or "", ""])[1] += fragment.arguments
    told = [(name, arguments) for name, arguments in calls.values()]
    whole = [(call["function"]["name"], call["function"]["arguments"]) for call in reader.message()]
    assert told == whole
    assert len(ids) == len(told) == len({call["id"] for call in reader.message()})
    assert reader.called == bool(told)
    return "".join(one.text for one in said), told


def values(calls: list[tuple[str, str]]) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in calls]
