"""The functions that a request offers to the model, and which of them it must call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError

MOST = 128  # functions of a request
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NOTHING = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}  # the parameters of a function without any
WORDS = ("none", "auto", "required")


@dataclass(frozen=True)
class Tool:
    """A function: ``parameters`` is the JSON schema of its arguments, which a ``strict`` one is held to."""

    name: str
    parameters: Mapping[str, Any]
    strict: bool
    shown: Mapping[str, Any]  # as the request wrote it, for the chat template


@dataclass(frozen=True)
class Tools:
    """``choice`` is none, auto, required, or the name of the function that must be called."""

    all: tuple[Tool, ...] = ()
    choice: str = "none"
    parallel: bool = True
    named: bool = False

    @classmethod
    def read(cls, tools: Any, choice: Any = None, *, parallel: bool | None = True) -> Tools:
        """From a request's ``tools``, ``tool_choice`` and ``parallel_tool_calls``.

        Raises: ConfigError with the place of what is wrong.
        """
        offered = tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(_list(tools)))
        names = [tool.name for tool in offered]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"tools: two functions are named {twice!r}; give each a name of its own")
        chosen = _choice(choice, names)
        named = not isinstance(choice, str) and choice is not None
        return cls(offered, chosen, parallel is not False, named)

    def __bool__(self) -> bool:
        """Whether the model may call any."""
        return bool(self.all) and (self.named or self.choice != "none")

    @property
    def shown(self) -> list[dict[str, Any]]:
        """For the chat template: nothing if none may be called."""
        return [dict(tool.shown) for tool in self.all] if self else []

    @property
    def forced(self) -> bool:
        """Whether the answer must be a call."""
        return self.named or self.choice == "required"

    @property
    def held(self) -> bool:
        """Whether calls must be valid by construction: forced ones, and all where a function is strict."""
        return self.forced or (bool(self) and any(tool.strict for tool in self.all))

    @property
    def callable(self) -> tuple[Tool, ...]:
        """Those that this answer may call."""
        if not self:
            return ()
        return tuple(tool for tool in self.all if tool.name == self.choice) if self.named else self.all


def for_template(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as chat templates want them: the arguments of calls as objects, where they are JSON of one."""
    return [_message(message) for message in messages]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        return dict(message)
    return {**message, "tool_calls": [_call(call) for call in calls]}


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": read_object(function["arguments"], function["arguments"])}}


def read_object(text: str, otherwise: Any) -> Any:
    """The object of a JSON text, or the other value if it is none."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, dict) else otherwise


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _list(tools: Any) -> list[Any]:
    if tools is None:
        return []
    if not isinstance(tools, (list, tuple)):
        raise ConfigError(f"tools: must be a list of functions, not {type(tools).__name__}")
    if len(tools) > MOST:
        raise ConfigError(f"tools: {len(tools)} functions; at most {MOST} can be offered")
    return list(tools)


def _tool(given: Any, place: str) -> Tool:
    if not isinstance(given, Mapping) or given.get("type", "function") != "function":
        raise ConfigError(f'{place}: must be {{"type": "function", "function": {{"name": …, "parameters": …}}}}')
    function = given.get("function")
    if not isinstance(function, Mapping):
        raise ConfigError(f"{place}.function: must be an object with a name")
    parameters = function.get("parameters") or NOTHING
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise ConfigError(f"{place}.function.parameters: must be the JSON schema of an object")
    if not isinstance(strict := function.get("strict") or False, bool):
        raise ConfigError(f"{place}.function.strict: must be true or false, not {strict!r}")
    if not isinstance(described := function.get("description") or "", str):
        raise ConfigError(f"{place}.function.description: must be a text, not {described!r}")
    name = _name(function.get("name"), f"{place}.function.name")
    return Tool(name, {"type": "object", **parameters}, strict, given)


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{place}: must be 1 to 64 letters, digits, '_', '-' or '.', not {str(name)[:80]!r}")
    return name


def _choice(choice: Any, names: list[str]) -> str:
    if choice is None:
        return "auto" if names else "none"
    if isinstance(choice, Mapping):
        return _named(choice, names)
    if choice not in WORDS:
        raise ConfigError(f"tool_choice: must be {', '.join(WORDS)} or a function, not {str(choice)[:80]!r}")
    if choice == "required" and not names:
        raise ConfigError("tool_choice: required, but the request has no tools; add some")
    return choice


def _named(choice: Mapping[str, Any], names: list[str]) -> str:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if choice.get("type", "function") != "function" or not isinstance(name, str):
        raise ConfigError('tool_choice: a function is chosen as {"type": "function", "function": {"name": …}}')
    if name not in names:
        raise ConfigError(f"tool_choice: no function named {name[:80]!r}; there are: {', '.join(names) or 'none'}")
    return name
