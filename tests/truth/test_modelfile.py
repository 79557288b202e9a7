"""Ollama's Modelfile: its template, evaluated as Go would, writes what the Jinja template writes."""

from __future__ import annotations

import re

import pytest
from talkers import small_tokenizer

from danlu.assembly.modelfile import frame, modelfile
from danlu.core.errors import ConfigError
from danlu.models.notes import Notes
from danlu.tokenize import Tokenizer

LLAMA3 = (
    "{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help. {{ '{{' }}x}}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCT = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'system' %}<<{{ m.content }}>>{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
CHATML = small_tokenizer.__globals__["TEMPLATE"]
TALKS = (
    [{"role": "user", "content": 'a "b" {{ .x }}'}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    [{"role": r, "content": f"{r}{n}"} for n in range(3) for r in ("user", "assistant")]
    + [{"role": "user", "content": "?"}],
)


def go(template: str, messages: list[dict[str, str]]) -> str:  # noqa: C901
    """Go's text/template, as far as a Modelfile here uses it: if ne/eq, else if, range, end, a literal."""
    tokens = [t for t in re.split(r"(\{\{.*?\}\})", template) if t]

    def run(at: int, dot: dict[str, str] | None, on: bool) -> tuple[str, int, str]:
        text = ""
        while at < len(tokens):
            token = tokens[at]
            word = token[2:-2].strip() if token.startswith("{{") else None
            if word is None:
                text += token if on else ""
            elif word == '"{{"':
                text += "{{" if on else ""
            elif word == ".Content":
                text += dot["content"] if on and dot else ""
            elif word == "range .Messages":
                parts = [run(at + 1, message, on) for message in messages]
                text, at = text + "".join(part for part, _, _ in parts), parts[0][1]
            elif word.startswith("if "):
                done, branch = False, word
                while branch != "end":
                    holds = on and not done and test(branch.removeprefix("else ").removeprefix("if "), dot)
                    part, at, branch = run(at + 1, dot, holds)
                    text, done = text + part, done or holds
            elif word == "end" or word.startswith("else"):
                return text, at, word
            else:
                raise AssertionError(word)
            at += 1
        return text, at, "end"

    def test(condition: str, dot: dict[str, str] | None) -> bool:
        if match := re.fullmatch(r'ne \(index \.Messages 0\)\.Role "(\w+)"', condition):
            return messages[0]["role"] != match[1]
        match = re.fullmatch(r'eq \.Role "(\w+)"', condition)
        assert match
        assert dot
        return dot["role"] == match[1]

    return run(0, None, True)[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("modelfile"))


@pytest.mark.parametrize("template", [CHATML, LLAMA3, DEFAULT, INSTRUCT])
def test_go_writes_what_jinja_writes(template: str, plain: Tokenizer) -> None:
    tokenizer = plain.with_template(template)
    found = frame(tokenizer).go()
    for messages in TALKS:
        assert go(found, messages) == tokenizer.template.text(messages, prompt=True)


def test_a_template_that_frames_roles_otherwise_is_refused(plain: Tokenizer) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ loop.index }}: {{ m.content | upper }}{% else %}"
        "{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    )
    with pytest.raises(ConfigError, match="cannot be told to Ollama"):
        frame(plain.with_template(template))


def test_stops_and_settings(plain: Tokenizer) -> None:
    notes = Notes({"eos_token_id": [5, 2], "temperature": 0.6, "top_k": None, "repetition_penalty": 1.1})
    lines = modelfile(plain, notes, 96, "model.gguf").splitlines()
    assert lines[0] == "FROM ./model.gguf"
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "<|endoftext|>"', 'PARAMETER stop "<|im_end|>"', f'PARAMETER stop "{plain.piece(5)}"',
        "PARAMETER num_ctx 96", "PARAMETER temperature 0.6", "PARAMETER repeat_penalty 1.1",
    ]  # fmt: skip
