"""Answers that must have a form: calls of tools and constrained text, from a random model through the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import Served, engine_of, serving
from talkers import small_model, small_tokenizer

from danlu.tokenize.template import chatml

pytest.importorskip("llguidance", reason="constrained answers; pip install 'danlu[serve]'")
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "北京"]}},
    "required": ["city"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": CITY}},
    {"type": "function", "function": {"name": "stop", "parameters": NOTHING}},
]
HI = [{"role": "user", "content": "hi"}]
SHOWN = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    words = small_tokenizer(tmp_path_factory.mktemp("forms")).with_template(SHOWN)
    with serving(engine_of(Path(), tokenizer=words, model=small_model(context=1024))) as one:
        yield one


@pytest.fixture(scope="module")
def ask(served: Served) -> Iterator[Any]:
    with httpx.Client(base_url=served.url, timeout=60) as client:

        def asked(status: int = 200, path: str = "/v1/chat/completions", **body: Any) -> Any:
            chat = {"messages": HI, "max_tokens": 300, "seed": 3} if path.endswith("chat/completions") else {}
            answer = client.post(path, json={**chat, **body})
            assert answer.status_code == status, answer.text
            return answer.json()

        yield asked


def chunks(served: Served, **body: Any) -> list[dict[str, Any]]:
    said = {"messages": HI, "max_tokens": 300, "seed": 3, "stream": True, **body}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=said, timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:])["choices"][0] for line in lines[:-1]]


def joined(parts: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Calls put together from fragments: id and name come once, arguments join to JSON."""
    calls: dict[int, dict[str, Any]] = {}
    for call in (call for part in parts for call in part["delta"].get("tool_calls", [])):
        if call["index"] not in calls:
            assert call["id"].startswith("call_")
            calls[call["index"]] = {"name": call["function"]["name"], "arguments": ""}
        else:
            assert "id" not in call
            assert "name" not in call["function"]
        calls[call["index"]]["arguments"] += call["function"]["arguments"]
    assert list(calls) == list(range(len(calls)))
    return [(call["name"], json.loads(call["arguments"])) for call in calls.values()]


def called(message: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message["tool_calls"]]


def valid(name: str, arguments: Any) -> bool:
    return arguments == {} if name == "stop" else arguments in ({"city": "Paris"}, {"city": "北京"})


@pytest.mark.parametrize("seed", range(3))
def test_a_required_call_is_valid_and_streams_to_itself(served: Served, ask: Any, seed: int) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "seed": seed}
    choice = ask(**body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = called(choice["message"])
    assert valid(*call)
    parts = chunks(served, **body)
    assert joined(parts) == [call]
    assert parts[-1]["finish_reason"] == "tool_calls"
    assert not "".join(part["delta"].get("content") or "" for part in parts)


def test_a_named_function_is_the_one_that_is_called(ask: Any) -> None:
    for name in ("weather", "stop"):
        choice = ask(tools=TOOLS, tool_choice={"type": "function", "function": {"name": name}})["choices"][0]
        assert [call[0] for call in called(choice["message"])] == [name]


def test_auto_may_say_text_and_none_is_told_of_nothing(served: Served, ask: Any) -> None:
    said = ask(tools=TOOLS, max_tokens=4, return_token_ids=True)
    assert said["choices"][0]["finish_reason"] == "length"
    assert "tool_calls" not in said["choices"][0]["message"]
    assert "weather" in served.engine.tokenizer.decode(said["prompt_token_ids"])
    none = ask(tools=TOOLS, tool_choice="none", max_tokens=4, return_token_ids=True)
    assert none["prompt_token_ids"] == ask(max_tokens=4, return_token_ids=True)["prompt_token_ids"]


def test_calls_of_before_are_in_the_prompt(served: Served, ask: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
    ]
    said = ask(messages=messages, tools=TOOLS, max_tokens=1, return_token_ids=True)
    text = served.engine.tokenizer.decode(said["prompt_token_ids"])
    assert '"arguments": {"city": "Paris"}' in text
    assert "mild" in text


def test_responses_have_calls_as_items(served: Served, ask: Any) -> None:
    flat = [{"type": "function", **tool["function"]} for tool in TOOLS]
    body = {
        "input": "hi",
        "tools": flat,
        "tool_choice": {"type": "function", "name": "weather"},
        "seed": 5,
        "max_output_tokens": 300,
    }
    (item,) = ask(path="/v1/responses", **body)["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "weather", "completed")
    assert valid("weather", json.loads(item["arguments"]))
    with httpx.stream("POST", f"{served.url}/v1/responses", json={**body, "stream": True}, timeout=60) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    pieces = "".join(event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta")
    assert pieces == item["arguments"]
    assert [event["type"] for event in events][-3:] == [
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    again = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": item["call_id"], "name": "weather", "arguments": item["arguments"]},
    ]
    told = ask(
        path="/v1/responses",
        input=[*again, {"type": "function_call_output", "call_id": item["call_id"], "output": "mild"}],
        max_output_tokens=2,
    )
    assert told["usage"]["output_tokens"] == 2


# ── text of a form ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_schema_a_regex_a_choice_and_a_grammar_hold(served: Served, ask: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    forms: list[tuple[dict[str, Any], Any]] = [
        ({"response_format": schema}, lambda text: json.loads(text)["city"] in ("Paris", "北京")),
        ({"guided_json": json.dumps(CITY)}, lambda text: json.loads(text)["city"] in ("Paris", "北京")),
        ({"guided_regex": "[0-9]{3}-[a-c]"}, lambda text: re.fullmatch("[0-9]{3}-[a-c]", text)),
        ({"guided_choice": ["yes", "no", "你好"]}, lambda text: text in ("yes", "no", "你好")),
        ({"guided_grammar": 'start: "a" | "b" start'}, lambda text: re.fullmatch("b*a", text)),
        ({"structured_outputs": {"choice": ["left", "right"]}}, lambda text: text in ("left", "right")),
    ]
    for form, holds in forms:
        choice = ask(**form, n=2)["choices"]
        for one in choice:
            assert one["finish_reason"] == "stop", (form, one)
            assert holds(one["message"]["content"]), (form, one)
        parts = chunks(served, **form)
        assert (
            "".join(part["delta"].get("content") or "" for part in parts)
            == ask(**form)["choices"][0]["message"]["content"]
        )


def test_json_object_begins_one(ask: Any) -> None:
    text = ask(response_format={"type": "json_object"}, max_tokens=40)["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    "form",
    [
        {"guided_regex": "(" * 50},
        {"guided_regex": "(a|b|ab)*" * 200 + "c{100000}"},
        {"guided_json": {"type": "nothing"}},
        {"guided_json": {"$ref": "#/nowhere"}},
        {"guided_json": {"$ref": "http://169.254.169.254/schema"}},
        {"guided_grammar": "start: start"},
        {"guided_grammar": "nonsense ::= "},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
    ],
    ids=str,
)
def test_a_form_that_is_none_is_refused_and_nobody_waits(served: Served, ask: Any, form: dict[str, Any]) -> None:
    error = ask(400, **form)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert ask(max_tokens=1)["usage"]["completion_tokens"] == 1
    assert served.idle()


def test_a_model_without_tools_in_its_template_is_offered_none(tmp_path: Path) -> None:
    words = small_tokenizer(tmp_path).with_template(chatml().replace("tools", "nothing"))
    with serving(engine_of(tmp_path, tokenizer=words)) as one:
        told = httpx.post(f"{one.url}/v1/chat/completions", json={"messages": HI, "tools": TOOLS}).json()
    assert told["error"]["param"] == "tools"
