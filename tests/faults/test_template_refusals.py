"""Conversations and templates that do not fit: one sentence with place and remedy."""

from __future__ import annotations

import pytest
from tests.tokenizer_corpus import trained

from danlu.core.errors import DataError

USER = {"role": "user", "content": "hi"}
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{{ m.content }}{{ eos_token }}{% endfor %}"
)


def sentence(source: str | None, messages: object, **settings: object) -> str:
    tokenizer = trained("byte_bpe")
    template = (tokenizer if source is None else tokenizer.with_template(source)).template
    with pytest.raises(DataError) as error:
        template.render(messages, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_role() -> None:
    said = sentence(None, [{"role": "human", "content": "x"}], file="a.jsonl", line=3)
    assert said.startswith("a.jsonl:3: message 1 has the role 'human'")
    assert "rename it to one it knows: system, user, assistant, tool" in said


def test_a_role_the_template_drops() -> None:
    said = sentence(
        "{% for m in messages if m.role in ['user', 'expert'] %}{{ m.content }}{% endfor %}",
        [{"role": "system", "content": "x"}],
    )
    assert "one it knows: user, expert" in said


def test_a_role_only_the_template_has() -> None:
    source = "{% for m in messages %}{% if m.role == 'ipython' %}<|im_start|>{% endif %}{{ m.content }}{% endfor %}"
    tokenizer = trained("byte_bpe").with_template(source)
    assert tokenizer.template.render([USER, {"role": "ipython", "content": "x"}], prompt=True).tokens


@pytest.mark.parametrize("messages", [[], "hi", {"role": "user"}, [{"content": "x"}], ["x"], [{"role": 3}]])
def test_no_conversation(messages: object) -> None:
    assert "role" in sentence(None, messages)


def test_the_template_objects() -> None:
    assert "refuses this conversation: Roles must alternate" in sentence(ALTERNATING, [USER, USER])


def test_the_template_fails() -> None:
    assert "fails on this conversation (TypeError" in sentence("{{ messages[0].content + 1 }}", [USER])
    assert "refuses this conversation" in sentence("{{ messages[0].content.x.y }}", [USER])


@pytest.mark.parametrize(
    ("source", "line"), [("{% for %}", 1), ("a\n{{ x", 2), ("{% if true %}", 1), ("{{ x }}\n\n{% endfor %}", 3)]
)
def test_the_template_is_no_jinja(source: str, line: int) -> None:
    assert f"line {line} of the chat template is wrong" in sentence(source, [USER])


def test_a_break_outside_a_loop() -> None:
    assert "does not compile" in sentence("{% break %}", [USER])


def test_no_template() -> None:
    from danlu.tokenize import train

    tokenizer = train(iter(["some text"]), "byte_bpe", vocab=270, specials=("</s>",))
    assert not tokenizer.template.exists
    assert tokenizer.stops == (0,)
    with pytest.raises(DataError, match=r"has no chat template; put a chat_template\.jinja"):
        tokenizer.template.render([USER])


def test_a_template_that_leaves_an_answer_out() -> None:
    source = (
        "{% for m in messages %}{% if loop.index0 != 1 or messages|length < 5 %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    answer = {"role": "assistant", "content": "x"}
    assert "leaves out the answer in message 2" in sentence(source, [USER, answer, USER, answer, USER])


def test_a_generation_prompt_that_answers_do_not_have() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_end|>Now answer!{% endif %}"
    )
    said = sentence(source, [USER, {"role": "assistant", "content": "x"}])
    assert "make add_generation_prompt write what precedes answers" in said
