"""Rendered conversations against ``apply_chat_template`` of transformers: text and ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tokenizer_corpus import trained

from danlu.tokenize import Tokenizer, load_tokenizer

transformers = pytest.importorskip("transformers")

TOOLS = [
    {
        "type": "function",
        "function": {"name": "天气", "description": "<b>weather</b> & more", "parameters": {"n": [1, 2.5, None]}},
    }
]
CALL = {"function": {"name": "天气", "arguments": {"city": "北京", "days": 2}}}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "be brief"}, {"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好！"}],
    [
        {"role": "user", "content": "1"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\none"},
        {"role": "user", "content": " 2 \n"}, {"role": "assistant", "content": "  two\n", "reasoning_content": "因为"},
        {"role": "user", "content": "3"},
    ],
    [
        {"role": "user", "content": "weather?"}, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"t": 3}'}, {"role": "tool", "content": "晴"}, {"role": "assistant", "content": "3°, 晴"},
    ],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "thinking": "t"}, {"role": "system", "content": "c"}],
]  # fmt: skip


def _both(folder: Path) -> tuple[Tokenizer, Any]:
    return load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)


def _same(ours: Tokenizer, theirs: Any, extras: dict[str, Any] | None = None) -> None:
    for messages in CONVERSATIONS:
        for tools in (None, TOOLS):
            for prompt in (False, True):
                settings = {"tools": tools, "add_generation_prompt": prompt, **(extras or {})}
                wanted = theirs.apply_chat_template(messages, tokenize=False, **settings)
                assert ours.template.text(messages, prompt=prompt, tools=tools, extras=extras) == wanted
                ids = ours.template.render(messages, prompt=prompt, tools=tools, extras=extras).tokens
                assert ours.decode(ids, skip_special=False) == wanted
                assert ids == theirs.apply_chat_template(messages, **settings)["input_ids"]


@pytest.mark.parametrize("thinking", [False, True])
def test_minimind_with_tools_and_thoughts(shared: Path, thinking: bool) -> None:
    _same(*_both(shared / "tokenizers/minimind"), extras={"open_thinking": thinking})


def test_our_own_chatml(tmp_path: Path) -> None:
    trained("byte_bpe").save(tmp_path)
    _same(*_both(tmp_path))


def test_what_jinja_may_do(tmp_path: Path) -> None:
    """Blocks trimmed, loop controls, namespaces, macros, tojson without escapes, generation marks."""
    source = """{%- set ns = namespace(n=0) %}
{% macro head(role) %}<{{ role | upper }}>{% endmacro %}
{% for m in messages %}
    {% if m.role == 'system' %}{% continue %}{% endif %}
    {% set ns.n = ns.n + 1 %}
    {{ head(m.role) ~ ns.n }} {{ loop.index }}/{{ loop.length }} {{ loop.last }} {{ m.content | trim | tojson }}
    {% generation %}{{ m.content[:3] * 2 }}{% endgeneration %}<|im_end|>
    {% if ns.n >= 4 %}{% break %}{% endif %}
{% endfor %}
{{ {'a': [1, '<ü>']} | tojson(indent=2) }} {{ '%s-%03d' | format('x', 7) }} {{ (messages | map(attribute='role') | list)[-1] }}
{{ bos_token }}{{ strftime_now('%Y') }}{{ tools is none }}{{ "{:>5}".format(3) }}{{ 7 // 2 }}{{ undefined_thing }}{{ messages[::-1][0].role }}
{% if add_generation_prompt %}<ASSISTANT>{% endif %}"""
    trained("byte_bpe").with_template(source).save(tmp_path)
    ours, theirs = _both(tmp_path)
    for messages in (CONVERSATIONS[0], CONVERSATIONS[1][1:], CONVERSATIONS[2]):
        for prompt in (False, True):
            wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert ours.template.text(messages, prompt=prompt) == wanted


def test_named_templates_and_files(tmp_path: Path) -> None:
    """A list of templates, the one for tools among them; a chat_template.jinja wins over the configuration."""
    trained("byte_bpe").save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    named = [
        {"name": "default", "template": "plain {{ messages[0].content }}"},
        {"name": "tool_use", "template": "{{ messages[0].content }} with {{ tools | length }} tools"},
    ]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}))
    ours, theirs = _both(tmp_path)
    for tools in (None, TOOLS):
        wanted = theirs.apply_chat_template(CONVERSATIONS[0], tokenize=False, tools=tools)
        assert ours.template.text(CONVERSATIONS[0], tools=tools) == wanted
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }} from the file")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "chat_template": "{{ messages[0].content }} no"})
    )
    ours, theirs = _both(tmp_path)
    wanted = theirs.apply_chat_template(CONVERSATIONS[0], tokenize=False)
    assert ours.template.text(CONVERSATIONS[0]) == wanted == "hi from the file"
