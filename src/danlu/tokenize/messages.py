"""The messages of a conversation before a template sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..core.errors import DataError

USUAL = ("system", "user", "assistant", "tool", "developer", "function")
NAMED_ROLE = re.compile(r"""role['"]?\]?\s*(?:==|!=|in)\s*[\[(]?\s*((?:['"]\w+['"]\s*,?\s*)+)""")
THOUGHTS = ("reasoning_content", "thinking", "reasoning")  # names under which datasets keep what came before an answer


def checked(
    messages: Sequence[Mapping[str, Any]], knows: Callable[[str], bool], roles: Callable[[], list[str]]
) -> list[dict[str, Any]]:
    """Copies for the template: no weights, thoughts under the name templates read.

    Raises: DataError if there is no message, one is no mapping, or its role is unknown to the template.
    """
    if isinstance(messages, (str, Mapping)) or not messages:
        raise DataError('a conversation is a list of at least one {"role": …, "content": …}')
    rows = []
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, Mapping) else None
        if not isinstance(role, str):
            raise DataError(f'message {number} has no role; write {{"role": "user", "content": …}}')
        if not knows(role):
            raise DataError(
                f"message {number} has the role {role!r}, which the chat template does not write; "
                f"rename it to one it knows: {', '.join(roles())}"
            )
        rows.append(_copy(message))
    return rows


def plain_roles(sources: Iterable[str]) -> list[str]:
    """The roles in general use, and those a template's source compares a role with."""
    named = [name for text in sources for found in NAMED_ROLE.findall(text) for name in re.findall(r"\w+", found)]
    return list(dict.fromkeys([*USUAL, *named]))


def _copy(message: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in message.items() if key != "weight"}
    thought = next((row[name] for name in THOUGHTS if row.get(name) is not None), None)
    return row if thought is None else {"thinking": thought, **row, "reasoning_content": thought}
