"""Tools that are wrong: refused with their place; what a message holds is given to templates as they want it."""

from __future__ import annotations

from typing import Any

import pytest
from tool_calls import chosen, offered

from danlu.core.errors import ConfigError
from danlu.serve.tools import Tools, for_template


def _one(**function: Any) -> list[Any]:
    return [{"type": "function", "function": {"name": "f", **function}}]


WRONG: dict[str, tuple[Any, Any, str]] = {
    "no list": ("weather", None, "tools: must be a list"),
    "an object": ({"type": "function"}, None, "tools: must be a list"),
    "a text in it": (["weather"], None, r"tools\[0\]"),
    "another type": ([{"type": "web_search"}], None, r"tools\[0\]"),
    "no function": ([{"type": "function"}], None, r"tools\[0\].function: must be an object"),
    "no name": ([{"type": "function", "function": {}}], None, r"tools\[0\].function.name"),
    "a name with spaces": (_one(name="get weather"), None, "letters, digits"),
    "a name that is long": (_one(name="f" * 65), None, "64"),
    "a name that is code": (_one(name='x", "arguments": {}}'), None, "letters, digits"),
    "a name that ends in a line": (_one(name="f\n"), None, "letters, digits"),
    "a number as a name": (_one(name=7), None, "letters, digits"),
    "twice": ([*offered(), *offered()], None, "two functions are named 'weather'"),
    "parameters that are a list": (_one(parameters=[1]), None, "JSON schema of an object"),
    "parameters that are a string's": (_one(parameters={"type": "string"}), None, "JSON schema of an object"),
    "strict that is a text": (_one(strict="yes"), None, "true or false"),
    "a description that is a number": (_one(description=3), None, "a text"),
    "too many": ([_one(name=f"f{n}")[0] for n in range(129)], None, "at most 128"),
    "a choice that is not": (offered(), "any", "none, auto, required"),
    "a choice that is a number": (offered(), 1, "none, auto, required"),
    "required of none": (None, "required", "no tools"),
    "an unknown function": (offered(), chosen("whether"), "no function named 'whether'; there are: weather, stop_all"),
    "a function of none": (None, chosen("weather"), "there are: none"),
    "a choice without a name": (offered(), {"type": "function"}, "is chosen as"),
    "a choice of another type": (offered(), {"type": "allowed_tools"}, "is chosen as"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_it_is_refused_in_one_sentence(case: str) -> None:
    tools, choice, told = WRONG[case]
    with pytest.raises(ConfigError, match=told) as refused:
        Tools.read(tools, choice)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_without_tools_or_with_none_of_them_nothing_is_shown() -> None:
    for tools in (Tools.read(None), Tools.read([]), Tools.read(offered(), "none"), Tools.read(None, "auto")):
        assert not tools
        assert tools.shown == []
        assert tools.callable == ()
        assert not tools.held


def test_a_function_may_have_the_name_of_a_choice() -> None:
    tools = Tools.read(_one(name="none"), chosen("none"))
    assert tools
    assert tools.forced
    assert [tool.name for tool in tools.callable] == ["none"]
    assert Tools.read(_one(name="required"), "auto").forced is False


def test_the_request_s_own_words_are_shown() -> None:
    assert Tools.read(offered()).shown == offered()
    assert Tools.read(_one()).all[0].parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_arguments_of_calls_are_given_to_templates_as_objects() -> None:
    def call(arguments: Any) -> dict[str, Any]:
        return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}

    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call('{"a": 1}'), call("no JSON"), call("[1]"), call({"b": 2}), 5]},
        {"role": "tool", "content": "y", "tool_call_id": "c"},
    ]  # fmt: skip
    given = for_template(messages)
    assert [c["function"]["arguments"] for c in given[1]["tool_calls"][:4]] == [{"a": 1}, "no JSON", "[1]", {"b": 2}]
    assert (given[0], given[2]) == (messages[0], messages[2])
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}', "what was given stays"
    assert for_template([{"role": "assistant", "tool_calls": "x"}]) == [{"role": "assistant", "tool_calls": "x"}]
